//! What came of a job, shown the same way by the verb that started it and by `jobs wait`.

use std::time::SystemTime;

use snap_api::{
    Copied, Created, Damage, ErrorCode, JobOutcome, JobStarted, PackDamage, Restored, Verified,
    WirePath,
};

use crate::{
    failure::Failure,
    follow::Followed,
    screen::{Screen, facts, table},
    verbs::{collect, containers, repair, snapshots, stats, template, volume},
    words::{clean, count, micros, short_id, size},
};

/// Shows the end of a followed job, or how to follow a detached one.
pub(crate) fn show_followed(screen: &Screen, followed: &Followed) -> Result<(), Failure> {
    match followed {
        Followed::Detached(started) => screen.show(started, &[&started.job], || detached(started)),
        Followed::Ended(outcome) => show(screen, outcome),
    }
}

/// Shows what came of a job; damage that was found is an end with the code for corrupt data.
pub(crate) fn show(screen: &Screen, outcome: &JobOutcome) -> Result<(), Failure> {
    match outcome {
        JobOutcome::Created(done) => {
            if let Some(reason) = done
                .snapshot
                .memory
                .as_ref()
                .and_then(|it| it.reason.as_ref())
            {
                screen.warning(&format!(
                    "memory could not be captured, the snapshot is of files alone: {}",
                    clean(reason)
                ));
            }
            done.warnings.iter().for_each(|text| screen.warning(text));
            screen.show(done, &[&done.snapshot.id], || {
                created(done, SystemTime::now())
            })
        }
        JobOutcome::Restored(done) => show_restored(screen, done),
        JobOutcome::Copied(done) => screen.show(done, &[], || copied(done)),
        JobOutcome::Collected(done) => collect::show(screen, done),
        JobOutcome::Verified(done) => {
            screen.show(done, &[], || verified(done))?;
            match done.damage.is_empty() && done.packs.is_empty() {
                true => Ok(()),
                false => Err(Failure::Found(ErrorCode::Corrupt)),
            }
        }
        JobOutcome::Repaired(done) => repair::show(screen, done),
        JobOutcome::Counted(done) => stats::show(screen, done),
        JobOutcome::Built(done) => template::show_built(screen, done),
        JobOutcome::Volume(done) => volume::show_changed(screen, done),
    }
}

fn show_restored(screen: &Screen, done: &Restored) -> Result<(), Failure> {
    if !done.restored_from_snapshot {
        screen.warning(
            "the snapshot has expired: these are fresh containers from the original image and configuration; \
             --force restores an expired snapshot",
        );
    }
    done.warnings.iter().for_each(|text| screen.warning(text));
    let ids: Vec<&str> = done.containers.iter().map(|one| one.id.as_str()).collect();
    screen.show(done, &ids, || restored(done, SystemTime::now()))
}

fn detached(started: &JobStarted) -> String {
    let mut lines = vec![("Job", started.job.clone())];
    if let Some(snapshot) = &started.snapshot {
        lines.push(("Snapshot", snapshot.clone()));
    }
    lines.push(("Follow with", format!("snapctl jobs wait {}", started.job)));
    facts(&lines)
}

fn created(done: &Created, now: SystemTime) -> String {
    let snapshot = &done.snapshot;
    let mut lines = vec![("Snapshot", snapshot.id.clone())];
    if !snapshot.names.is_empty() {
        lines.push(("Names", snapshot.names.join(", ")));
    }
    if !snapshot.versions.is_empty() {
        lines.push(("Version", snapshot.versions.join(", ")));
    }
    if !done.forgotten.is_empty() {
        lines.push(("Forgotten", done.forgotten.join(", ")));
    }
    lines.push(("Source", snapshots::source(snapshot)));
    lines.push(("Expires", snapshots::expiry(snapshot, now)));
    lines.push((
        "Content",
        format!(
            "{} in {}",
            size(snapshot.logical_bytes),
            count(snapshot.nodes, "node")
        ),
    ));
    if let Some(memory) = &snapshot.memory {
        lines.push(("Memory", snapshots::memory(memory)));
    }
    lines.push((
        "New",
        format!(
            "{} in {}, stored in {}; {} known already",
            size(done.new_bytes),
            count(done.new_chunks, "chunk"),
            size(done.stored_bytes),
            count(done.deduplicated_chunks, "chunk"),
        ),
    ));
    if snapshot.is_container || snapshot.container_folder.is_some() {
        lines.push(("Paused for", micros(done.pause_us)));
    }
    lines.push(("Took", micros(done.elapsed_us)));
    facts(&lines)
}

fn restored(done: &Restored, now: SystemTime) -> String {
    let mut text = containers::render(&done.containers, containers::Columns::OneNamespace, now);
    text.push_str(&format!(
        "{} in {} from {}\n",
        count(done.containers.len() as u64, "container"),
        micros(done.elapsed_us),
        if done.restored_from_snapshot {
            format!("snapshot {}", short_id(&done.snapshot))
        } else {
            "the original image".to_owned()
        }
    ));
    text
}

fn copied(done: &Copied) -> String {
    format!(
        "Copied {}, {}\n",
        count(done.files, "node"),
        size(done.bytes)
    )
}

fn verified(done: &Verified) -> String {
    let checked = format!(
        "{}, {}, {}",
        count(done.snapshots, "snapshot"),
        count(done.chunks, "chunk"),
        size(done.bytes)
    );
    if done.damage.is_empty() && done.packs.is_empty() {
        return format!("No damage in {checked}\n");
    }
    let more = if done.truncated { ", and more" } else { "" };
    format!(
        "{}{}{} of snapshots damaged{more}, in {checked}\n",
        damaged_packs(&done.packs),
        damaged_places(&done.damage),
        count(done.damage.len() as u64, "place"),
    )
}

/// A table of packs that are damaged; nothing when none is.
pub(crate) fn damaged_packs(packs: &[PackDamage]) -> String {
    let rows: Vec<Vec<String>> = packs
        .iter()
        .map(|pack| {
            vec![
                pack.pack.clone(),
                pack.chunks.to_string(),
                pack.problem
                    .as_deref()
                    .map_or_else(|| "-".to_owned(), clean),
            ]
        })
        .collect();
    match rows.is_empty() {
        true => String::new(),
        false => table(&["PACK", "DAMAGED CHUNKS", "PROBLEM"], &rows, &[]) + "\n",
    }
}

/// A table of places in snapshots that are damaged; nothing when none is.
pub(crate) fn damaged_places(places: &[Damage]) -> String {
    let rows: Vec<Vec<String>> = places
        .iter()
        .map(|place| {
            let path = place.path.as_ref().map(WirePath::to_string);
            vec![
                short_id(&place.snapshot).to_owned(),
                path.map_or_else(|| "-".to_owned(), |path| clean(&path)),
                bytes_hit(place),
                clean(&place.problem),
            ]
        })
        .collect();
    match rows.is_empty() {
        true => String::new(),
        false => table(&["SNAPSHOT", "PATH", "BYTES", "PROBLEM"], &rows, &[]),
    }
}

/// The first and the last byte that are lost.
fn bytes_hit(place: &Damage) -> String {
    match place.offset_bytes.zip(place.length_bytes) {
        Some((offset, length)) if length > 0 => format!("{offset}-{}", offset + length - 1),
        _ => "-".to_owned(),
    }
}
