//! What goes on with many hosts, as one document on each line of a log.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::API_VERSION;
use crate::model::event::Event;
use crate::model::millis;
use crate::model::names::{AppName, HostName};
use crate::model::report::Problem;

/// Something has happened.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetEvent<'a> {
    /// `trueup/v1`.
    pub api_version: &'static str,
    /// `FleetEvent`.
    pub kind: &'static str,
    /// When this was heard, by the clock here.
    pub at: Timestamp,
    /// The App.
    pub app: &'a AppName,
    /// The host; null for all of them.
    pub host: Option<&'a HostName>,
    /// What it is, in the key `type`, and what belongs to that.
    #[serde(flatten)]
    pub what: Happened<'a>,
}

/// What has happened.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Happened<'a> {
    /// The host is at something else now.
    Phase(PhaseDocument<'a>),
    /// Something has happened in a pass there.
    Event {
        /// As the host told it.
        event: &'a Event,
    },
    /// A wave begins.
    Wave {
        /// Which one, from 1.
        wave: usize,
        /// Who changes.
        hosts: &'a [HostName],
        /// Whether the migrations are run; then it is one host.
        migrate: bool,
    },
    /// The hosts of a wave have to stay healthy.
    Hold {
        /// Which one, from 1.
        wave: usize,
        /// Who.
        hosts: &'a [HostName],
        /// For how long.
        #[serde(with = "millis", rename = "forMs")]
        length: Duration,
    },
    /// Nothing is done for a while.
    Pause {
        /// The wave that comes then, from 1.
        before_wave: usize,
        /// How long.
        #[serde(with = "millis", rename = "forMs")]
        length: Duration,
    },
    /// The connection broke; the host goes on by itself.
    Lost {
        /// What broke.
        why: &'a str,
        /// Until the next try.
        #[serde(with = "millis", rename = "againInMs")]
        again_in: Duration,
    },
    /// A person wants no more of it.
    Stopping {
        /// What that means, for people.
        text: &'a str,
    },
    /// Something went wrong on the host.
    Problem {
        /// What, and what to do.
        problem: Problem,
    },
    /// For people.
    Note {
        /// What there is to say.
        text: &'a str,
    },
    /// It is over.
    Ended {
        /// As in a [`FleetDocument`](super::fleet::FleetDocument).
        outcome: Option<&'static str>,
        /// How long it took.
        #[serde(with = "millis", rename = "tookMs")]
        took: Duration,
        /// Every one of them.
        hosts: Vec<HostVerdictDocument<'a>>,
    },
}

/// What a host is at.
#[derive(Debug, Serialize)]
#[serde(tag = "phase", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum PhaseDocument<'a> {
    /// Its turn has not come.
    Waiting,
    /// A connection to it is made.
    Connecting,
    /// The program is copied to it.
    Copying {
        /// How large it is, in bytes.
        size: u64,
    },
    /// It is looked at.
    Looking,
    /// It was looked at, and waits for its turn.
    Seen {
        /// How many actions would close its drift.
        actions: usize,
    },
    /// Its pass is under way.
    Changing {
        /// What it does at this moment, for people; empty at the beginning.
        step: &'a str,
    },
    /// It has to stay healthy.
    Holding {
        /// For how long.
        #[serde(with = "millis", rename = "forMs")]
        length: Duration,
    },
    /// It is taken back.
    TakingBack {
        /// What it does at this moment, for people; empty at the beginning.
        step: &'a str,
    },
    /// The connection broke.
    Lost {
        /// Until the next try.
        #[serde(with = "millis", rename = "againInMs")]
        again_in: Duration,
    },
    /// It is done with, unless others fail.
    Ended {
        /// As in a [`FleetHostDocument`](super::fleet::FleetHostDocument).
        verdict: &'static str,
    },
}

/// What became of one host.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostVerdictDocument<'a> {
    /// The host.
    pub host: &'a HostName,
    /// In one word.
    pub verdict: &'static str,
}

impl<'a> FleetEvent<'a> {
    /// Something that has happened with that App.
    #[must_use]
    pub fn new(at: Timestamp, app: &'a AppName, host: Option<&'a HostName>, what: Happened<'a>) -> Self {
        Self { api_version: API_VERSION, kind: "FleetEvent", at, app, host, what }
    }
}
