//! What is written down of ends and attempts.

use snap_store::{Namespace, Result, SnapshotId, TriggerRecord};
use tracing::warn;

use super::decision;
use crate::{clock, host::Host};

/// At the start: an attempt during which the daemon ended has failed, and is made again as any other that has.
pub(super) fn resume(host: &Host) {
    let resuming = || -> Result<()> {
        for seen in host.catalogue.triggers(None)? {
            if decision::was_cut_off(&seen) {
                let result = Err("The daemon ended while it was made".to_owned());
                let next = decision::ended(&seen, result, clock::now());
                host.catalogue.update_trigger(Some(&seen), &next)?;
            }
        }
        Ok(())
    };
    if let Err(error) = resuming() {
        warn!(%error, "Cannot look for automatic snapshots that were cut off");
    }
}

/// Stores what `decide` makes of what is known of a container, if anything, and returns it; asked again when that has changed meanwhile.
pub(super) fn change(
    host: &Host,
    (namespace, id): (&Namespace, &str),
    mut decide: impl FnMut(Option<&TriggerRecord>) -> Option<TriggerRecord>,
) -> Result<Option<TriggerRecord>> {
    loop {
        let seen = host.catalogue.trigger(namespace, id)?;
        let Some(next) = decide(seen.as_ref()) else {
            return Ok(None);
        };
        if host.catalogue.update_trigger(seen.as_ref(), &next)? {
            return Ok(Some(next));
        }
    }
}

/// Notes what came of an attempt; an end that was met meanwhile stays due.
pub(super) fn note(host: &Host, begun: &TriggerRecord, result: &Result<SnapshotId, String>) {
    let ended =
        |seen: Option<&TriggerRecord>| Some(decision::ended(seen?, result.clone(), clock::now()));
    if let Err(error) = change(host, (&begun.namespace, &begun.container), ended) {
        warn!(container = begun.container, %error, "Cannot note what came of an automatic snapshot");
    }
}
