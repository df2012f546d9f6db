//! `snapshotd`: reads its configuration, starts the runtime, and turns failures into exit codes.

use std::{
    error::Error,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use snap_daemon::{Config, config, logs, run};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Flags, variables or the configuration file are wrong.
const EXIT_CONFIG: u8 = 2;
/// How long blocking work that nobody waits for any more may keep the process.
const LAST_WORK: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let matches = config::command().get_matches();
    let config = match Config::load(&matches) {
        Ok(config) => config,
        Err(error) => return complain(EXIT_CONFIG, &error),
    };
    if matches.get_flag("check-config") {
        return print(&config.to_toml());
    }
    if let Some(file) = matches.get_one::<PathBuf>("restore-catalogue") {
        return match run::restore_catalogue(&config, file) {
            Ok(text) => print(&text),
            Err(error) => complain(error.exit_code(), &error),
        };
    }
    if matches.get_flag("repair-catalogue") {
        return match run::repair_catalogue(&config) {
            Ok(text) => print(&text),
            Err(error) => complain(error.exit_code(), &error),
        };
    }
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(error.exit_code(), &error),
    }
}

fn serve(config: Config) -> Result<(), run::RunError> {
    let system = |op| move |source| run::RunError::System { op, source };
    logs::start(&config).map_err(system("start logging"))?;
    let runtime = tokio::runtime::Runtime::new().map_err(system("start the runtime"))?;
    let result = runtime.block_on(run::run(config));
    runtime.shutdown_timeout(LAST_WORK);
    result
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(1, &error),
    }
}

/// Prints the error and what lay beneath it, a line each.
fn complain(code: u8, error: &dyn Error) -> ExitCode {
    let mut text = format!("snapshotd: {error}\n");
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!("  because: {cause}\n"));
        next = cause.source();
    }
    // Nowhere else to say it.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(code)
}
