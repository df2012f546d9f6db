//! How does a store of millions of chunks do? Makes one through the real code, then times what people wait for and how much memory it takes.
//!
//! ```text
//! cargo run --release -p snap-store --example scale -- DIR [CHUNKS [SNAPSHOTS]]
//! ```
//!
//! DIR must not exist; it is removed at the end. Without numbers it is ten million chunks in a thousand snapshots. Each snapshot has its
//! share of the chunks as new files, and half as many of the snapshot before. A chunk is 32 bytes that nothing
//! compresses, because what is measured grows with their number and not with their size. Every figure is of a process of its own, so
//! that its peak memory is its own: the program calls itself. What it found is in docs/scale.md.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use snap_store::{
    Access, CollectOptions, Content, ContentReader, Digest, Draft, Entry, EntryName, HostFacts,
    LinkTable, Manifest, Meta, Node, Origin, Silent, SnapshotId, Store, TreeReader, TreeRef,
    TreeWriter,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const CHUNKS: u64 = 10_000_000;
const SNAPSHOTS: u64 = 1000;
const CHUNK_BYTES: usize = 32;
const FILES_A_FOLDER: u64 = 1000;
const LOOK_UPS: u64 = 200_000;

const MEASUREMENTS: [(&str, &str); 11] = [
    ("open", "open for writing"),
    (
        "look-up",
        "look chunks up, in no order, and as many that are not there",
    ),
    ("list", "open for reading, read every manifest"),
    ("create", "begin and commit a snapshot of 1000 new chunks"),
    ("verify", "quick verify of one snapshot"),
    ("unique", "add up what each snapshot alone needs"),
    ("usage", "add up that and what each needs"),
    ("dry-run", "collect, dry run"),
    ("remove", "remove half of the snapshots, four in a row"),
    ("collect", "collect what they alone needed"),
    ("again", "collect when there is nothing to do"),
];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let folder = arguments.first().ok_or("Name a folder to work in")?;
    let folder = Path::new(folder);
    if let Some(measurement) = arguments.get(1).filter(|word| word.parse::<u64>().is_err()) {
        return tell(folder, measurement);
    }
    let number = |at: usize, default| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let (chunks, snapshots) = (number(1, CHUNKS)?, number(2, SNAPSHOTS)?);
    if folder.exists() {
        return Err("The folder must not exist".into());
    }
    let _removed = Removed(folder.to_owned());
    let mut out = io::stdout().lock();
    let started = Instant::now();
    make(folder, chunks, snapshots)?;
    writeln!(out, "| what | time | peak memory | |\n|---|---|---|---|")?;
    line(
        &mut out,
        "make it",
        started.elapsed(),
        &format!("{chunks} chunks"),
    )?;
    for (measurement, words) in MEASUREMENTS {
        let program = env::current_exe()?;
        let answer = Command::new(program)
            .arg(folder)
            .arg(measurement)
            .output()?;
        let answer = String::from_utf8(answer.stdout)? + &String::from_utf8(answer.stderr)?;
        writeln!(out, "| {words} | {}", answer.trim())?;
        out.flush()?;
    }
    Ok(())
}

/// The folder, removed when dropped.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            drop(writeln!(
                io::stderr(),
                "Cannot remove {}: {error}",
                self.0.display()
            ));
        }
    }
}

/// Measures one thing in this process.
fn tell(folder: &Path, measurement: &str) -> Outcome<()> {
    let started = Instant::now();
    let words = measure(folder, measurement)?;
    let elapsed = started.elapsed();
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:.2} s | {} MiB | {words} |",
        elapsed.as_secs_f64(),
        peak_mib()?
    )?;
    Ok(())
}

fn line(out: &mut dyn Write, what: &str, elapsed: Duration, words: &str) -> Outcome<()> {
    let (seconds, peak) = (elapsed.as_secs_f64(), peak_mib()?);
    writeln!(out, "| {what} | {seconds:.2} s | {peak} MiB | {words} |")?;
    Ok(())
}

/// The most memory this process has had at once.
fn peak_mib() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib
        .ok_or("The kernel does not say how much memory was used")?
        .parse::<u64>()?
        / 1024)
}

fn measure(folder: &Path, measurement: &str) -> Outcome<String> {
    let access = match measurement {
        "list" | "verify" => Access::ReadOnly,
        _ => Access::ReadWrite,
    };
    let store = Store::open(folder, access)?;
    Ok(match measurement {
        "open" => {
            let stats = store.stats()?;
            format!("{} chunks in {} packs", stats.chunks, stats.packs)
        }
        "look-up" => look_up(&store)?,
        "list" => {
            let mut nodes = 0;
            for id in store.manifests()? {
                nodes += store.manifest(&id)?.root.nodes;
            }
            format!("{} snapshots, {nodes} nodes", store.manifests()?.len())
        }
        "create" => {
            commit(&store, u64::MAX / 2, |draft| {
                folder_of(draft, u64::MAX / 2..u64::MAX / 2 + 1000)
            })?;
            String::new()
        }
        "verify" => verify(&store)?,
        "remove" => {
            let mut ids = store.manifests()?;
            ids.sort_unstable();
            let removed = ids.chunks(4).step_by(2).flatten();
            let removed: Vec<_> = removed.collect();
            for id in &removed {
                store.remove_manifest(id)?;
            }
            format!("{} removed", removed.len())
        }
        "unique" | "usage" => usage(&store, measurement == "usage")?,
        _ => collect(&store, measurement == "dry-run")?,
    })
}

/// Microseconds a look-up, with the index in the page cache.
fn look_up(store: &Store) -> Outcome<String> {
    let chunks = store.stats()?.chunks.min(CHUNKS * 100);
    let digests = |numbers: &dyn Fn(u64) -> u64| -> Vec<Digest> {
        let chunk = |number| Digest::of(&numbers(number).to_le_bytes());
        let digest = |number| Digest::of(chunk(number).as_bytes());
        (0..LOOK_UPS).map(digest).collect()
    };
    // Lehmer's multiplier spreads what is looked up over the whole store, of which a few chunks are no files.
    let there = digests(&|number| number * 48_271 % (chunks * 9 / 10));
    let absent = digests(&|number| u64::MAX - number);
    let each = |digests: &[Digest]| -> Outcome<(f64, usize)> {
        let started = Instant::now();
        let mut found = 0;
        for digest in digests {
            found += usize::from(store.has(digest)?);
        }
        let microseconds = started.elapsed().as_secs_f64() * 1e6;
        Ok((microseconds / digests.len() as f64, found))
    };
    each(&there)?;
    let ((hit, found), (miss, _)) = (each(&there)?, each(&absent)?);
    Ok(format!(
        "{chunks} chunks; {hit:.2} µs each, {miss:.2} µs where there is none; {found} of {LOOK_UPS} found"
    ))
}

/// Adds up what each snapshot needs.
fn usage(store: &Store, in_full: bool) -> Outcome<String> {
    let groups: Vec<_> = store.manifests()?.into_iter().map(|id| vec![id]).collect();
    let usage = store.usage(&groups, in_full, &Silent)?;
    let unique: u64 = usage.groups.iter().map(|group| group.unique.chunks).sum();
    let needed = usage.groups.iter().filter_map(|group| group.needed);
    let needed: u64 = needed.map(|needed| needed.chunks).sum();
    let snapshots = usage.groups.len();
    Ok(match in_full {
        true => format!("{snapshots} snapshots, {unique} unique chunks, {needed} needed"),
        false => format!("{snapshots} snapshots, {unique} unique chunks"),
    })
}

fn collect(store: &Store, dry_run: bool) -> Outcome<String> {
    let options = CollectOptions {
        grace: Duration::ZERO,
        dry_run,
        ..CollectOptions::default()
    };
    let report = store.collect(&options, &|| Ok(Vec::new()), &Silent)?;
    Ok(format!(
        "{} chunks needed, {} not; {} packs removed, {} rewritten, {:.1} MB freed",
        report.live_chunks,
        report.dead_chunks,
        report.removed_packs,
        report.rewritten_packs,
        report.freed_bytes as f64 / 1e6
    ))
}

/// Looks for every chunk of the newest snapshot.
fn verify(store: &Store) -> Outcome<String> {
    let mut ids = store.manifests()?;
    ids.sort_unstable();
    let id = ids.last().ok_or("There is no snapshot")?;
    let root = store.manifest(id)?.root;
    let reader = TreeReader::new(store.clone(), root);
    let mut folders = vec![root];
    let mut chunks = 0u64;
    while let Some(folder) = folders.pop() {
        for page in reader.pages(&folder)? {
            store.check(&page, false)?;
        }
        for located in reader.entries(&folder, 0, 0, usize::MAX)? {
            match &located.entry.node {
                Node::Directory(below) => folders.push(*below),
                Node::File { content, size, .. } => {
                    let content = ContentReader::new(store.clone(), *content, *size);
                    content.walk(&mut |digest| {
                        chunks += 1;
                        store.check(digest, false)
                    })?;
                }
                _ => {}
            }
        }
    }
    Ok(format!("{chunks} chunks"))
}

/// Makes the store: every snapshot has some new folders and those of the one before it.
fn make(folder: &Path, chunks: u64, snapshots: u64) -> Outcome<()> {
    let store = Store::ensure(folder)?;
    let new_files = (chunks / snapshots).max(1);
    // Some folders are in two snapshots, some in one: of a removed snapshot's packs some go and some are sparse.
    let kept_folders = (new_files.div_ceil(FILES_A_FOLDER) * 3 / 2).max(2) as usize;
    let mut folders: Vec<TreeRef> = Vec::new();
    for number in 0..snapshots {
        let first = number * new_files;
        commit(&store, number, |draft| {
            for start in (first..first + new_files).step_by(FILES_A_FOLDER as usize) {
                let end = (start + FILES_A_FOLDER).min(first + new_files);
                let Node::Directory(tree) = folder_of(draft, start..end)?.node else {
                    unreachable!("it is made as a folder");
                };
                folders.push(tree);
            }
            let old = folders.len().saturating_sub(kept_folders);
            folders.drain(..old);
            let mut writer = TreeWriter::new(draft);
            for (place, tree) in folders.iter().enumerate() {
                writer.push(&entry(place as u64, Node::Directory(*tree))?)?;
            }
            entry(0, Node::Directory(writer.finish()?))
        })?;
    }
    Ok(())
}

fn folder_of(draft: &Draft, files: std::ops::Range<u64>) -> Outcome<Entry> {
    let mut writer = TreeWriter::new(draft);
    for number in files {
        let raw = Digest::of(&number.to_le_bytes()).as_bytes().to_vec();
        let node = Node::File {
            size: CHUNK_BYTES as u64,
            content: Content::Chunk(draft.put_data(raw)?),
            linked: false,
        };
        writer.push(&entry(number, node)?)?;
    }
    entry(0, Node::Directory(writer.finish()?))
}

fn entry(number: u64, node: Node) -> Outcome<Entry> {
    Ok(Entry {
        name: EntryName::new(format!("{number:020}").into_bytes())?,
        meta: Meta::default(),
        node,
    })
}

/// Commits a snapshot whose id tells its number.
fn commit(store: &Store, number: u64, root: impl FnOnce(&Draft) -> Outcome<Entry>) -> Outcome<()> {
    let id: SnapshotId = format!("{number:032x}").parse()?;
    let draft = store.begin(id)?;
    let root = root(&draft)?;
    let Node::Directory(tree) = root.node else {
        return Err("The root is no folder".into());
    };
    let manifest = Manifest {
        id,
        namespace: "default".parse()?,
        created_at: 0,
        name: None,
        version: None,
        expires_at: None,
        labels: BTreeMap::new(),
        root: tree,
        root_meta: root.meta,
        links: LinkTable::default(),
        logical_bytes: 0,
        stored_bytes: 0,
        pause_us: 0,
        memory: None,
        origin: Origin::Path("/".to_owned()),
        host: HostFacts::default(),
    };
    draft.commit(manifest)?;
    Ok(())
}
