//! `agent`: stays, and makes passes when something changes.

mod place;
mod reload;

use std::io::IsTerminal;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

pub(super) use self::place::{CONFIG, configuration};
use self::place::{Place, place};
use self::reload::Reloader;
pub(super) use self::reload::words;
use super::Failure;
use super::host::{AGENT, on_this_host};
use super::live::Live;
use super::options::agent::Agent as Options;
use super::options::{Global, LogFormat, Paths};
use super::render::{operate as text, report};
use crate::agent::agent_lock::AgentLock;
use crate::agent::board::Board;
use crate::agent::git::GitSource;
use crate::agent::host_filter::{HostFilter, names};
use crate::agent::orders::Orders;
use crate::agent::outbox::Outbox;
use crate::agent::registry::AppRegistry;
use crate::agent::senses::Kernel;
use crate::agent::service::Service;
use crate::agent::setup::{self, PublisherTasks};
use crate::agent::source::Directory;
use crate::agent::web::{Door, Operators, Port, Reach, Socket, Texts, Web, Webhooks, serve};
use crate::agent::{Agent, AgentContext};
use crate::documents::agent::Configuration;
use crate::engine::events::{Listener, Silent};
use crate::engine::interrupt::Interrupt;
use crate::local::LocalHost;
use crate::model::agent::AgentConfig;
use crate::ports::HostError;

/// Orders that wait for the loop; whoever finds more is told so.
const ORDERS: usize = 256;

/// Runs until it is asked to end.
///
/// # Errors
/// When it cannot begin.
pub fn run(options: &Options, global: &Global) -> Result<u8, Failure> {
    let config = configuration(options.config.as_deref())?;
    let place = place(options, &config)?;
    let webhooks = setup::webhooks(&config.webhooks, place.watched())?;
    let operators = Operators::named(options.operator_group.as_deref())?;
    let _alone = AgentLock::claim(&options.state_dir)?;
    let names = names(&config);
    let registry = AppRegistry::open(&options.state_dir, place.origin(&names));
    let outbox = Outbox::open(&options.state_dir);
    let stop = Interrupt::default();
    // At a terminal somebody looks on; elsewhere the log says the same.
    let listener = if std::io::stderr().is_terminal() && global.log_format == LogFormat::Text {
        // The log comes to stand beside it.
        Box::new(Live::new(true)) as Box<dyn Listener>
    } else {
        Box::new(Silent)
    };
    // A rule of sudo names manifests of this host, not commits.
    let manifests = match &place {
        Place::Paths(paths) => Some(Paths { paths: paths.clone() }),
        Place::Git(_) => None,
    };
    // No reason to look after nothing: the host's Apps come before the news of them.
    let problem = setup::tokens(&config).err().map(|error| words(error.into()));
    let told = Told { config, place, webhooks, operators, names, registry, problem, outbox };
    let work = async |host: &LocalHost| follow(options, told, host, &*listener, &stop).await;
    on_this_host(AGENT, manifests.as_ref(), Some(&stop), work)??;
    Ok(0)
}

/// What the agent was told.
struct Told {
    config: AgentConfig,
    place: Place,
    webhooks: Webhooks,
    operators: Operators,
    /// What this host is called.
    names: Vec<String>,
    registry: AppRegistry,
    /// Why somebody cannot be told of what happens.
    problem: Option<String>,
    outbox: Outbox,
}

async fn follow(
    options: &Options,
    told: Told,
    host: &LocalHost,
    listener: &dyn Listener,
    stop: &Interrupt,
) -> Result<(), Failure> {
    let mut doors = vec![Door::Socket(Socket::bind(&options.socket.path, told.operators.group)?)];
    if let Some(address) = options.listen.or(told.config.listen) {
        let reach = if options.listen_anywhere { Reach::Anywhere } else { Reach::Loopback };
        doors.push(Door::Port(Port::bind(address, reach)?));
    }
    info!(
        version = env!("CARGO_PKG_VERSION"),
        host = told.names.join(" "),
        manifests = %told.place.line().trim_end(),
        socket = %options.socket.path.display(),
        port = options.listen.or(told.config.listen).map(tracing::field::display),
        "the agent begins"
    );
    let (orders, ordered) = mpsc::channel(ORDERS);
    let senses = Kernel::new();
    let hangups = signal(SignalKind::hangup());
    let hangups = hangups.map_err(|error| HostError::io("cannot listen for SIGHUP", &error))?;
    let (webhooks, believed) = watch::channel(told.webhooks);
    let board = Board::new(env!("CARGO_PKG_VERSION"));
    let (ending, ended) = oneshot::channel::<()>();
    // Questions are answered until the last step in hand has ended.
    let serving = tokio::spawn(serve(doors, web(board.clone(), orders.clone(), told.operators, believed), async {
        let _ = ended.await;
    }));
    if let Some(problem) = told.problem {
        warn!(problem, "somebody cannot be notified as the agent's own configuration says; the agent goes on");
        board.configured(Configuration { problem: Some(problem), needs_restart: Vec::new() });
    }
    let (publisher, behind) = setup::publisher(&told.config, &told.outbox, &[]);
    let Told { config, place, names, registry, outbox, .. } = told;
    let context = AgentContext {
        host,
        publisher,
        listener,
        board,
        service: Service::from_environment(),
        stop: stop.clone(),
        concurrency: options.concurrency.get(),
        registry,
        seed: setup::seed(&names),
    };
    let (over, is_over) = oneshot::channel();
    let behind = vec![behind];
    let reloader = Reloader { options, config, place: place.clone(), webhooks, orders, behind, outbox };
    let following = async {
        match place {
            Place::Paths(paths) => {
                Agent::new(context, HostFilter::new(Directory::new(paths), names), senses, ordered).run().await;
            }
            Place::Git(git) => {
                let source = HostFilter::new(GitSource::new(git, &options.state_dir), names);
                Agent::new(context, source, senses, ordered).run().await;
            }
        }
        let _ = over.send(());
    };
    let ((), behind) = tokio::join!(following, reloader.run(hangups, is_over));
    drop(ending);
    let _ = serving.await;
    join_all(behind.into_iter().map(PublisherTasks::finish)).await;
    Ok(())
}

fn web(board: Board, orders: Orders, operators: Operators, webhooks: watch::Receiver<Webhooks>) -> Web {
    Web {
        board,
        orders,
        journals: Arc::new(|root| Box::pin(async move { LocalHost::new(AGENT).journaled(&root).await })),
        webhooks,
        operators,
        texts: Texts {
            pass: report::report,
            retried: text::retried,
            suspension: text::suspension,
            not_kept_out: text::not_kept_out,
        },
    }
}
