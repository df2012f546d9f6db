//! What a fuzzer does with the text of a configuration file.

use super::{Config, File};

/// Reads it as the daemon would; what is accepted is printed as it reads again.
pub(crate) fn fuzz(text: &str) {
    let Ok(values) = text.parse() else {
        return;
    };
    let (config, problems) = read(values);
    if problems.is_empty() {
        let printed = config.to_toml().parse().expect("it is printed as TOML");
        assert_eq!(read(printed), (config, problems));
    }
}

fn read(values: toml::Table) -> (Config, Vec<String>) {
    let mut config = Config::default();
    let mut problems = Vec::new();
    let path = "config.toml".into();
    config.apply_file(&File { path, values }, &mut problems);
    (config, problems)
}
