//! `show --memory`: what the memory of a snapshot holds.

use snap_api::{MemoryContents, ProcessView, ReferenceRequest};

use crate::{
    failure::Failure,
    screen::table,
    session::{CONTENTS, Session, answer},
    words::{clean, count, size},
};

/// Asks and shows.
pub(super) async fn show(session: &Session, request: ReferenceRequest) -> Result<(), Failure> {
    session.require(CONTENTS)?;
    let asked = session.client.memory_contents(session.soon(), request);
    let contents = answer(asked.await)?;
    session.screen.show(&contents, &[], || render(&contents))
}

fn render(contents: &MemoryContents) -> String {
    let rows = contents.processes.iter().map(|one| {
        vec![
            one.pid.to_string(),
            one.parent.to_string(),
            clean(&one.name),
            one.threads.to_string(),
            size(one.stored_bytes),
            count(one.mappings.len() as u64, "mapping"),
            count(one.open.len() as u64, "descriptor"),
        ]
    });
    let head = [
        "PID", "PARENT", "NAME", "THREADS", "STORED", "MAPPED", "OPEN",
    ];
    let mut text = table(&head, &rows.collect::<Vec<_>>(), &[0, 1, 3, 4]);
    contents
        .processes
        .iter()
        .for_each(|one| text.push_str(&details(one)));
    if contents.partial {
        text.push_str("There is more than is shown here\n");
    }
    text
}

fn details(process: &ProcessView) -> String {
    let mut text = format!("\nProcess {} ({})\n", process.pid, clean(&process.name));
    for mapping in &process.mappings {
        text.push_str(&format!(
            "  {:>18}  {}  {:>10}  {:>10} stored  {}\n",
            clean(&mapping.start),
            clean(&mapping.access),
            size(mapping.bytes),
            size(mapping.stored_bytes),
            clean(&mapping.what)
        ));
    }
    for open in &process.open {
        let what = open.what.as_deref().unwrap_or_default();
        text.push_str(&format!(
            "  {:>18}  {}  {}\n",
            open.descriptor,
            clean(&open.kind),
            clean(what)
        ));
    }
    text
}
