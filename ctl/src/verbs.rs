//! The verbs, by what they are about: each has its arguments, what it asks, and what it shows.

pub(crate) mod auto;
pub(crate) mod backup;
pub(crate) mod browse;
pub(crate) mod check;
pub(crate) mod clone;
pub(crate) mod collect;
pub(crate) mod containers;
pub(crate) mod create;
pub(crate) mod events;
pub(crate) mod forget;
pub(crate) mod generate;
pub(crate) mod history;
pub(crate) mod jobs;
pub(crate) mod mounts;
pub(crate) mod naming;
pub(crate) mod outcome;
pub(crate) mod policy;
pub(crate) mod repair;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod snapshots;
pub(crate) mod stats;
pub(crate) mod template;
pub(crate) mod trash;
pub(crate) mod upkeep;
pub(crate) mod volume;
