//! The product: a host whose containerd does not exist, in a folder in memory where there is one.

mod asking;
mod making;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use snap_api::{CreateSource, ErrorCode, ErrorReport, JobOutcome, WirePath};
use snap_store::{ContainerRecord, MountRecord, SnapshotId, TreeReader};
use tempfile::TempDir;

use super::{
    BEGIN,
    calls::{Call, Creation, Ending, REAL},
    folder,
    plain::{Limits, Noted, User},
};
use crate::{
    Config, Host,
    clock::{self, fake},
    collect::{self, CollectPlan, Reason},
    create::CreatePlan,
    error::Result,
    expiry,
    server::{browse, peer::Peer, trash},
    settle,
};

const ROOT: Peer = Peer { uid: 0, pid: None };

pub(super) type Answer = Result<Value, (ErrorCode, String)>;

pub(super) struct Real {
    host: Option<Arc<Host>>,
    config: Config,
    folder: TempDir,
    /// Creates that go on.
    creating: BTreeMap<String, (CreatePlan, Creation)>,
    /// What the last step came to.
    noted: Noted,
}

impl Real {
    pub(super) async fn start(limits: Limits) -> Self {
        fake::begin(BEGIN);
        let folder = match Path::new("/dev/shm").is_dir() {
            true => TempDir::new_in("/dev/shm"),
            false => TempDir::new(),
        };
        let folder = folder.unwrap();
        let path = |name: &str| folder.path().join(name);
        let config = Config {
            root: path("root"),
            state: path("state"),
            socket: path("socket"),
            containerd: path("no-containerd"),
            trash_grace: Duration::from_secs(limits.grace),
            default_ttl: limits.default_ttl.map(Duration::from_secs),
            snapshots_per_namespace: limits.snapshots,
            stored_bytes_per_namespace: limits.stored_bytes,
            disk_high_percent: 100,
            reserve_bytes: 0,
            ..Config::default()
        };
        fs::create_dir(&config.root).unwrap();
        let mut real = Self {
            host: None,
            config,
            folder,
            creating: BTreeMap::new(),
            noted: Noted::default(),
        };
        real.open().await;
        real
    }

    async fn open(&mut self) {
        let host = Host::open(self.config.clone()).unwrap();
        settle::settle(&host).await.unwrap();
        self.host = Some(host);
    }

    pub(super) fn host(&self) -> &Arc<Host> {
        self.host.as_ref().unwrap()
    }

    /// A create by the recipe itself is of a real folder, and ends as the recipe ends; what it stores is not known when it is refused.
    pub(super) fn adapt(&self, call: &mut Call) {
        let can_be_real = self.config.stored_bytes_per_namespace == 0;
        match call {
            Call::Create(creation) => {
                creation.is_real &= can_be_real && creation.ending == Ending::Active;
                if creation.is_real {
                    creation.source = self.content(&creation.content.to_string());
                    creation.content += REAL;
                }
            }
            Call::AutoSet(_) if !can_be_real => *call = Call::Look,
            Call::AutoSet(request) => {
                if let CreateSource::Path(path) = &request.source {
                    let path = self.content(&path.to_string());
                    request.source = CreateSource::Path(WirePath::new(path.as_bytes()));
                }
            }
            _ => {}
        }
    }

    /// The real folder of a content; there is none for `none`.
    fn content(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        if name != "none" && !path.exists() {
            fs::create_dir(&path).unwrap();
            symlink(name, path.join("link")).unwrap();
        }
        path.display().to_string()
    }

    /// Does a step; returns what is answered, and what it came to.
    pub(super) async fn apply(&mut self, call: &Call) -> (Answer, Noted) {
        self.noted = Noted::default();
        let answer = self.done(call).await.map_err(|error| {
            let report = ErrorReport::from(error);
            (report.code, report.reason)
        });
        let answer = answer.map(|mut value| {
            hide_reasons(&mut value);
            value
        });
        (answer, self.noted.clone())
    }

    async fn done(&mut self, call: &Call) -> Result<Value> {
        match call {
            Call::Create(creation) => return self.create(creation).await,
            Call::EndCreate(id, is_well) => return self.end_create(id, *is_well).await,
            Call::Pass(seconds) => fake::pass(*seconds),
            Call::Jump(by) => fake::set(clock::now() + by),
            Call::Look => expiry::round(self.host()).await,
            Call::Collect => self.collect().await?,
            Call::Restart => self.restart(false).await,
            Call::Rebuild => self.restart(true).await,
            Call::Use { .. } | Call::Release(_) => self.use_or_release(call).await?,
            Call::AutoLook => return self.look_at_autos().await,
            _ => return self.asked(call).await,
        }
        Ok(Value::Null)
    }

    /// The daemon ends, and starts again; with a catalogue that is new when the old one is lost.
    pub(super) async fn restart(&mut self, loses_catalogue: bool) {
        let mut host = self.host.take().unwrap();
        // Whoever did the last step lets go of it on a thread of its own.
        while let Err(held) = Arc::try_unwrap(host) {
            host = held;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.creating.clear();
        if loses_catalogue {
            let path = self.config.catalogue();
            for end in ["", "-wal", "-shm"] {
                let file = format!("{}{end}", path.display());
                drop(fs::remove_file(file));
            }
        }
        self.open().await;
    }

    async fn collect(&self) -> Result<()> {
        let host = self.host();
        let plan = CollectPlan {
            grace: Duration::ZERO,
            ..CollectPlan::by_itself(Reason::Asked, &host.config)
        };
        let started = collect::start(host, "default".parse().unwrap(), plan)?;
        let JobOutcome::Collected(collected) = host.jobs.outcome(&started.job).await? else {
            panic!("a collection ends as something else");
        };
        let is_sound = !collected.incomplete && collected.unreadable.is_empty();
        assert!(is_sound && collected.missing_chunks == 0, "{collected:?}");
        Ok(())
    }

    /// As a restore or a mount notes it.
    async fn use_or_release(&self, call: &Call) -> Result<()> {
        let (host, now) = (self.host(), clock::now());
        match call {
            Call::Use {
                user,
                namespace,
                reference,
                from_trash,
            } => {
                let record = match from_trash {
                    true => trash::resolve(host, namespace, reference).await?,
                    false => browse::active(host, namespace, reference).await?,
                };
                begin_use(host, user, record.id)?;
                match user {
                    User::Container(..) => host.catalogue.note_restore(&record.id, 1, 0, now)?,
                    User::Folder(_) => host.catalogue.touch(&record.id, now)?,
                }
            }
            Call::Release(User::Container(namespace, id)) => {
                let namespace = namespace.parse().unwrap();
                host.catalogue.remove_container(&namespace, id, now)?;
            }
            Call::Release(User::Folder(number)) => {
                let path = folder(*number);
                host.catalogue.remove_mount(Path::new(&path), now)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Who uses what.
    pub(super) fn users(&self) -> BTreeMap<User, String> {
        let catalogue = &self.host().catalogue;
        let containers = catalogue.containers().unwrap().into_iter().map(|one| {
            let user = User::Container(one.namespace.to_string(), one.id);
            (user, one.snapshot.unwrap().to_string())
        });
        let folders = catalogue.mounts().unwrap().into_iter().map(|one| {
            let number = one.path.file_name().unwrap().to_str().unwrap();
            let user = User::Folder(number.parse().unwrap());
            (user, one.snapshot.to_string())
        });
        containers.chain(folders).collect()
    }

    pub(super) fn manifests(&self) -> BTreeSet<String> {
        let ids = self.host().store.manifests().unwrap();
        ids.iter().map(ToString::to_string).collect()
    }

    pub(super) fn chunks(&self) -> u64 {
        self.host().store.stats().unwrap().chunks
    }

    /// Reads a snapshot's tree.
    pub(super) fn read(&self, id: &str) {
        let store = self.host().store.clone();
        store.set_cache_bytes(0);
        let root = store.manifest(&id.parse().unwrap()).unwrap().root;
        let found = TreeReader::new(store, root).entries(&root, 0, 0, 10);
        assert_eq!(found.unwrap().len(), 1, "{id}");
    }
}

fn begin_use(host: &Host, user: &User, snapshot: SnapshotId) -> Result<()> {
    match user {
        // One that is not complete: the next start would mount what the others stand on.
        User::Container(namespace, id) => host.catalogue.insert_container(&ContainerRecord {
            namespace: namespace.parse().unwrap(),
            id: id.clone(),
            snapshot: Some(snapshot),
            folder: "/nowhere/container".into(),
            is_complete: false,
            created_at: clock::now(),
        })?,
        User::Folder(number) => host.catalogue.insert_mount(&MountRecord {
            path: folder(*number).into(),
            snapshot,
            writable: None,
        })?,
    }
    Ok(())
}

/// The words of a reason are the product's own.
fn hide_reasons(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(hide_reasons),
        Value::Object(fields) => {
            for (field, inner) in fields {
                match field.as_str() {
                    "reason" | "failure" => *inner = json!("why"),
                    _ => hide_reasons(inner),
                }
            }
        }
        _ => {}
    }
}
