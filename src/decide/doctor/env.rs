//! A changed `.env`, which Laravel does not notice by itself.

use crate::model::app::App;
use crate::model::finding::{Finding, Severity};

const CHECK: &str = "workers.restartOn";

pub(super) fn findings(app: &App) -> Option<Finding> {
    let file =
        app.release.shared.files.iter().find(|path| path.as_path().file_name().is_some_and(|name| name == ".env"))?;
    let path = format!("shared/{file}");
    if app.workers.is_empty() && app.services.is_empty() {
        return None;
    }
    if app.restart_ons().any(|(_, file)| file.path.as_path().as_os_str() == path.as_str()) {
        return Some(Finding::ok(CHECK, format!("a change of `{path}` is acted upon")));
    }
    Some(
        Finding::new(CHECK, Severity::Note, format!("`{path}` is shared, and nothing has `restartOn` for it"))
            .why(
                "workers go on with the old values, and with Laravel's configuration cached even a restart changes \
                 nothing",
            )
            .mend(format!("restartOn: [{{path: {path}, run: php artisan config:cache}}]")),
    )
}
