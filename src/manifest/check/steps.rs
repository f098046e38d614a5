//! Steps: commands of a build, a verification, a migration or a hook.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Checker, LEAST, LOGIN, each, optional};
use crate::manifest::node::Cursor;
use crate::manifest::shape::{self, Step};
use crate::model::names::UserName;
use crate::model::release::{CommandStep, EnvValue, STEP_VARIABLES};

/// How long a step may take by default.
const TIMEOUT: Duration = Duration::from_mins(10);

impl Checker<'_> {
    pub(super) fn steps(&mut self, steps: &[Step], list: &Cursor<'_>) -> Option<Vec<CommandStep>> {
        each(steps, |position, step| self.step(step, &list.item(position)))
    }

    fn step(&mut self, step: &Step, at: &Cursor<'_>) -> Option<CommandStep> {
        let map = match step {
            Step::Map(map) => map,
            Step::Command(run) => {
                let run = self.command(run, at)?;
                let env = BTreeMap::new();
                return Some(CommandStep { run, timeout: TIMEOUT, env, working_directory: None, user: None });
            }
        };
        let run = map.run.as_ref().and_then(|run| self.command(run, &at.key("run")));
        let timeout = self.duration(map.timeout.as_ref(), &at.key("timeout"), LEAST, TIMEOUT);
        let env = self.environment(&map.env, &at.key("env"));
        let place = at.key("workingDirectory");
        let directory = map.working_directory.as_ref().map(|path| {
            let help = "write a directory of the release, such as `frontend`; without the key it is the release itself";
            self.inside_with(path, &place, help)
        });
        let user = map.user.as_ref().map(|user| self.accept(&at.key("user"), UserName::new(user), LOGIN));
        Some(CommandStep {
            run: run?,
            timeout: timeout?,
            env: env?,
            working_directory: optional(directory)?,
            user: optional(user)?,
        })
    }

    fn environment(
        &mut self,
        env: &BTreeMap<String, shape::EnvValue>,
        at: &Cursor<'_>,
    ) -> Option<BTreeMap<String, EnvValue>> {
        let mut sound = self.variables(env.keys(), at);
        for name in env.keys().filter(|name| STEP_VARIABLES.contains(&name.as_str())) {
            let message = format!("`{name}` is set by trueup for every step");
            self.find(at.name_of(name), message, "take another name, or leave it out");
            sound = false;
        }
        let made: Vec<Option<(String, EnvValue)>> = env
            .iter()
            .map(|(name, value)| {
                let at = at.key(name);
                let value = match value {
                    shape::EnvValue::Text(text) => Some(EnvValue::Plain(text.clone())),
                    shape::EnvValue::File(path) => self.secret_file(path, &at.key("file")).map(EnvValue::Secret),
                    shape::EnvValue::EnvVar(name) => {
                        self.secret_variable(name, &at.key("envVar")).map(EnvValue::Secret)
                    }
                };
                Some((name.clone(), value?))
            })
            .collect();
        made.into_iter().collect::<Option<_>>().filter(|_| sound)
    }
}
