//! Real programs, captured with their memory while they work, restored beside the original and as eight clones.
//!
//! Each has made up a word when it began: one that still knows it has gone on, and has not begun anew.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use snap_api::{MemoryContents, Restored};
use snap_tests::{Host, Image, wait_for, workload};

/// Far longer than anything takes that is waited for.
const LIMIT: Duration = Duration::from_secs(60);
const CLONES: usize = 8;
/// Asks a server over HTTP; there is no other client in the image.
const ASK: &str = "python3 -c 'import urllib.request as r; print(r.urlopen(\"http://127.0.0.1:8000/\").read().decode())'";

/// A program in its container.
struct Program<'a> {
    host: &'a Host,
    id: String,
    /// Prints how it goes.
    asking: &'a str,
}

/// How it goes: the word it has made up, whether what it holds is whole, how far it has come.
#[derive(Debug)]
struct State {
    word: String,
    is_whole: bool,
    steps: u64,
}

impl Program<'_> {
    /// The same program in the container `id`.
    fn in_clone(&self, id: &str) -> Self {
        Program {
            id: id.to_owned(),
            ..*self
        }
    }

    fn state(&self) -> Result<State> {
        let said = self.host.exec(&self.id, self.asking)?;
        let words: Vec<&str> = said.split_whitespace().collect();
        let &[word, is_whole, steps] = words.as_slice() else {
            anyhow::bail!("{} says {said:?}", self.id);
        };
        Ok(State {
            word: word.to_owned(),
            is_whole: is_whole.eq_ignore_ascii_case("true"),
            steps: steps.parse().context("Read the steps")?,
        })
    }

    /// Waits until it answers.
    fn ready(&self) -> Result<State> {
        wait_for("the program", LIMIT, || Ok(self.state().ok()))
    }

    /// Waits until it has made some steps from now on, whole all the time.
    fn goes_on(&self) -> Result<State> {
        let before = self.state()?.steps;
        wait_for("more steps", LIMIT, || {
            let state = self.state()?;
            ensure!(state.is_whole, "{} is not whole: {state:?}", self.id);
            Ok((state.steps > before + 5).then_some(state))
        })
    }
}

/// Runs `script` in a container of the programs' image.
fn run<'a>(host: &'a Host, script: &str, asking: &'a str) -> Result<Program<'a>> {
    run_in(host, Image::Programs, script, asking)
}

fn run_in<'a>(host: &'a Host, image: Image, script: &str, asking: &'a str) -> Result<Program<'a>> {
    host.run("one", host.image(image)?, script)?;
    Ok(Program {
        host,
        id: "one".to_owned(),
        asking,
    })
}

/// Captures it while it works and restores it once beside it and eight times more: all of them go on, also the original.
fn forks(program: &Program<'_>) -> Result<Vec<String>> {
    let before = program.ready()?;
    program.goes_on()?;
    let host = program.host;
    host.snap(&["create", "one", "--memory=required", "--name", "warm"])?;
    let mut clones = Vec::new();
    for (id, count) in [("two", 1), ("more", CLONES)] {
        let count = count.to_string();
        let ids = ["restore", "warm", "--id", id, "--count", &count];
        let restored: Restored = host.snap_json(&ids)?;
        ensure!(restored.with_memory, "{restored:?}");
        clones.extend(restored.containers.into_iter().map(|clone| clone.id));
    }
    for id in std::iter::once("one").chain(clones.iter().map(String::as_str)) {
        let clone = program.in_clone(id);
        let after = clone.goes_on().with_context(|| format!("In {id}"))?;
        ensure!(after.word == before.word, "{id} has begun anew");
        ensure!(after.steps > before.steps, "{id} has lost steps");
    }
    Ok(clones)
}

/// A script that writes `text` to `path` and goes on with `then`.
fn with_file(path: &str, text: &str, then: &str) -> String {
    format!("cat > {path} <<'END'\n{text}\nEND\n{then}")
}

#[test]
fn a_program_goes_on_with_what_it_shares_and_holds_open() -> Result<()> {
    const IMAGE: &str = "test/kinds:1";
    let host = Host::start()?;
    let layer = host.make_folder("layer")?;
    for folder in ["bin", "work"] {
        fs::create_dir(layer.join(folder))?;
    }
    fs::copy(workload("kinds")?, layer.join("bin/kinds"))?;
    host.import_layers(IMAGE, &[&Image::Busybox.rootfs()?, &layer])?;
    host.run("one", IMAGE, "exec /bin/kinds /work /bin/kinds")?;
    let program = Program {
        host: &host,
        id: "one".to_owned(),
        asking: "cat /work/state",
    };
    forks(&program).map(drop)
}

#[test]
fn python_goes_on_with_its_threads_its_array_and_its_open_file() -> Result<()> {
    let host = Host::start()?;
    let source = include_str!("../workloads/work.py");
    let script = with_file("/root/work.py", source, "exec python3 /root/work.py");
    let program = run(&host, &script, "cat /run/state")?;
    for id in forks(&program)? {
        let lines = |what: &str| host.exec(&id, what)?.trim().parse::<u64>().context("Count");
        let written = lines("wc -l < /run/log")?;
        wait_for("more lines", LIMIT, || {
            Ok((lines("wc -l < /run/log")? > written).then_some(()))
        })?;
    }
    Ok(())
}

#[test]
fn node_goes_on_with_its_timers_and_its_server() -> Result<()> {
    let host = Host::start()?;
    let source = include_str!("../workloads/work.js");
    let script = with_file("/root/work.js", source, "exec node /root/work.js");
    forks(&run(&host, &script, ASK)?).map(drop)
}

/// Redis holds a client's connection when it is captured: that is closed in the clones, and goes on in the original.
#[test]
fn redis_goes_on_with_its_data_and_clients_connect_again() -> Result<()> {
    const FILL: &str = "for i = 1, 20000 do redis.call('set', 'key' .. i, string.rep(i, 20)) end";
    let asking = "id=$(redis-cli info server | sed -n 's/run_id://p' | tr -d '\\r'); \
        test \"$(redis-cli dbsize)\" -ge 20000 && test \"$(redis-cli get key777)\" = $(printf '777%.0s' $(seq 20)) && whole=true; \
        echo $id ${whole:-false} $(redis-cli incr steps)";
    let host = Host::start()?;
    let script = format!(
        "redis-server --save '' --daemonize yes; until redis-cli ping; do sleep 0.1; done; \
         redis-cli eval \"{FILL}\" 0; (while :; do sleep 1; done) | redis-cli & wait"
    );
    let program = run(&host, &script, asking)?;
    wait_for("a client", LIMIT, || {
        let clients = host.exec("one", "redis-cli client list | wc -l").ok();
        Ok(clients.filter(|count| count == "2"))
    })?;
    let clones = forks(&program)?;
    let connected = |id: &str| host.exec(id, "redis-cli client list | grep -v cmd=client | wc -l");
    assert_eq!(connected("one")?, "1");
    for id in clones {
        host.exec(&id, "redis-cli set own $$ && redis-cli get own")?;
    }
    Ok(())
}

#[test]
fn nginx_goes_on_with_its_workers_and_its_socket() -> Result<()> {
    const CONFIG: &str = "user root; worker_processes 3; daemon off; pid /run/nginx.pid; events {}
http { access_log /run/access.log; server { listen 8000; location / { return 200 '$pid'; } } }";
    // Each question is a line of the log; the pids of its workers are what it must still have.
    let asking = "python3 -c 'import urllib.request as r; print(r.urlopen(\"http://127.0.0.1:8000/\").read().decode())' >/run/said; \
        master=$(cat /run/nginx.pid); workers=$(tr ' ' '\\n' < /proc/$master/task/$master/children | sort | tr '\\n' .); \
        case .$workers in *.$(cat /run/said).*) whole=true;; esac; \
        echo $workers ${whole:-false} $(wc -l < /run/access.log)";
    let host = Host::start()?;
    let script = with_file("/root/nginx.conf", CONFIG, "exec nginx -c /root/nginx.conf");
    forks(&run(&host, &script, asking)?).map(drop)
}

/// Thirty-two threads run what the machine has compiled meanwhile.
#[test]
fn java_goes_on_with_its_threads_and_its_compiled_code() -> Result<()> {
    let host = Host::start()?;
    let source = include_str!("../workloads/Work.java");
    let run = "exec java -Xmx64m -XX:+UseSerialGC /root/Work.java";
    let script = with_file("/root/Work.java", source, run);
    let program = run_in(&host, Image::Services, &script, "cat /run/state")?;
    forks(&program)?;
    let contents: MemoryContents = host.snap_json(&["show", "warm", "--memory"])?;
    let machine = contents.processes.iter().find(|one| one.name == "java");
    assert!(machine.context("No java")?.threads > 32, "{contents:?}");
    Ok(())
}

/// A transaction is open when it is captured: what it has written is seen by nobody, and it can be committed in each clone by itself.
///
/// PostgreSQL does not run as root, and where nobody has `CAP_SYS_RESOURCE` CRIU captures root's processes alone: a library tells it
/// that it is somebody else.
#[test]
fn postgresql_goes_on_with_a_transaction_in_flight() -> Result<()> {
    const SOMEBODY: &str =
        "unsigned geteuid(void) { return 1; } unsigned getuid(void) { return 1; }";
    const SQL: &str = "/usr/lib/postgresql/15/bin/psql -h /tmp -U daemon -qAtF' ' postgres";
    const OPEN: &str = "select count(*) from pg_stat_activity where state = 'idle in transaction'";
    const FILL: &str = "create table steps (n serial); create table held (n int); \
        insert into held select generate_series(1, 10000)";
    let asking = format!(
        "{SQL} -c 'insert into steps default values' -c \"select extract(epoch from pg_postmaster_start_time()), \
         (select (count(*) in (10000, 10001) and sum(n) in (50005000, 50005007))::text from held), (select count(*) from steps)\""
    );
    let host = Host::start()?;
    let script = format!(
        "until test -e /root/ready; do sleep 0.1; done; cd /root; mkdir data; chown 1 data; chmod 700 data; \
         export LD_PRELOAD=/root/somebody.so; b=/usr/lib/postgresql/15/bin; $b/initdb -A trust -D data > initdb.log 2>&1; \
         $b/postgres -D data -k /tmp -c listen_addresses= & until {SQL} -c 'select 1'; do sleep 0.1; done; \
         {SQL} -c '{FILL}'; \
         (echo 'begin; insert into held values (7);'; until test -e /root/commit; do sleep 0.05; done; \
         echo 'commit;'; sleep 1000) | {SQL} & wait"
    );
    let program = run_in(&host, Image::Services, &script, &asking)?;
    let (library, root) = (library(SOMEBODY)?, host.rootfs("one").join("root"));
    fs::copy(library.path(), root.join("somebody.so"))?;
    fs::write(root.join("ready"), "")?;
    wait_for("the transaction", LIMIT, || {
        let open = host.exec("one", &format!("{SQL} -c \"{OPEN}\"")).ok();
        Ok(open.filter(|count| count == "1"))
    })?;
    let clones = forks(&program)?;
    let held = |id: &str| host.exec(id, &format!("{SQL} -c 'select count(*) from held'"));
    for id in clones.iter().map(String::as_str).chain(["one"]) {
        assert_eq!(held(id)?, "10000", "in {id}");
        host.exec(id, "touch /root/commit")?;
        wait_for("the commit", LIMIT, || {
            Ok((held(id)? == "10001").then_some(()))
        })
        .with_context(|| format!("In {id}"))?;
    }
    Ok(())
}

/// A library of the C source, for programs of the same system as this one.
fn library(source: &str) -> Result<tempfile::NamedTempFile> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("source.c");
    fs::write(&path, source)?;
    let made = tempfile::NamedTempFile::new()?;
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-o"])
        .args([made.path(), &path])
        .status()
        .context("Run cc")?;
    ensure!(compiled.success(), "cc: {compiled}");
    Ok(made)
}
