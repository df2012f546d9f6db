use super::*;

const WHOLE: &str = r#"
name = "shop"
version = "{branch}-{commit}"
command = ["node", "server.js"]
user = "node:node"
workdir = "/srv/shop"
network = "host"
exclude = ["/var/cache"]
memory = true
keep = 2
ttl_seconds = 86400

[base]
image = "docker.io/library/node:22"

[env]
NODE_ENV = "production"

[labels]
team = "web"

[[steps]]
name = "dependencies"
run = "apt-get update && apt-get install -y git"

[[steps]]
copy = { from = "config", to = "/etc/shop", exclude = ["*.key"] }

[[steps]]
git = { repository = "https://example.org/shop.git", branch = "main", to = "/srv/shop" }
user = "node"

[[steps]]
run = ["npm", "ci"]

[probe]
run = "curl -f localhost:8080/health"
timeout_seconds = 30
"#;

const SMALL: &str = "name = \"a\"\n[base]\nimage = \"b\"\n";

#[test]
fn a_whole_template_is_understood_and_written_again() {
    let template = Template::parse(WHOLE, "shop.toml").unwrap();
    assert_eq!(template.steps.len(), 4);
    assert_eq!(template.steps[0].shown(), "dependencies");
    assert_eq!(template.steps[3].shown(), "run npm ci");
    let json = serde_json::to_string(&template).unwrap();
    let again: Template = serde_json::from_str(&json).unwrap();
    assert_eq!(again, template);
    let small = Template::parse(SMALL, "a.toml").unwrap();
    assert_eq!((small.keep, small.network), (3, BuildNetwork::None));
}

#[test]
fn what_is_not_known_is_named_with_its_line() {
    let cases = [
        (
            "name = \"a\"\ncolour = 1\n[base]\nimage = \"b\"\n",
            2,
            "colour",
        ),
        (
            "name = \"a\"\n[base]\nimage = \"b\"\nlayer = 1\n",
            4,
            "layer",
        ),
        (
            "name = \"a\"\n[base]\nimage = \"b\"\n[[steps]]\nrum = \"x\"\n",
            5,
            "rum",
        ),
        (
            "name = \"a\"\n[base]\nimage = \"b\"\n[[steps]]\nrun = 5\n",
            5,
            "a line for /bin/sh",
        ),
        (
            "name = \"a\"\n\nkeep = -1\n[base]\nimage = \"b\"\n",
            3,
            "-1",
        ),
        ("name = \n", 1, ""),
    ];
    for (text, line, word) in cases {
        let report = Template::parse(text, "x.toml").unwrap_err();
        let start = format!("x.toml, line {line}: ");
        assert!(report.message.starts_with(&start), "{text}: {report}");
        assert!(report.message.contains(word), "{text}: {report}");
        assert_eq!(report.reason, "invalid-template");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_its_field() {
    let cases = [
        ("", "`base` has either"),
        ("image = \"b\"\nsnapshot = \"c\"", "`base` has either"),
        ("image = \"b\"\n[[steps]]\n", "step 1: it has one of"),
        (
            "image = \"b\"\n[[steps]]\nrun = \" \"",
            "step 1: `run` is no command",
        ),
        (
            "image = \"b\"\n[[steps]]\nrun = []",
            "step 1: `run` is no command",
        ),
        (
            "image = \"b\"\n[[steps]]\nrun = \"x\"\nuser = \"a b\"",
            "step 1: `user`",
        ),
        (
            "image = \"b\"\n[[steps]]\ncopy = {from = \"x\", to = \"y\"}",
            "`copy.to` is not",
        ),
        (
            "image = \"b\"\n[[steps]]\ncopy = {from = \"x\", to = \"/\"}",
            "`copy.to` is the root",
        ),
        (
            "image = \"b\"\n[[steps]]\ncopy = {from = \"x\", to = \"/a/../b\"}",
            "`copy.to` is not",
        ),
        (
            "image = \"b\"\n[[steps]]\ngit = {repository = \"--upload-pack=x\", to = \"/y\"}",
            "begins with `-`",
        ),
        (
            "image = \"b\"\n[[steps]]\ngit = {repository = \"x\", branch = \"-f\", to = \"/y\"}",
            "`git.branch`",
        ),
        ("image = \"b\"\n[env]\n\"A=B\" = \"\"", "`env` has `A=B`"),
        (
            "image = \"b\"\n[probe]\nrun = \"x\"\ntimeout_seconds = 0",
            "`probe.timeout_seconds`",
        ),
    ];
    for (rest, word) in cases {
        let text = format!("name = \"a\"\n[base]\n{rest}\n");
        let report = Template::parse(&text, "x.toml").unwrap_err();
        assert!(report.message.contains(word), "{rest}: {report}");
    }
    for (first, word) in [
        ("memory = true", "`memory` needs"),
        ("keep = 0", "`keep`"),
        ("version = \"{colour}\"", "`version`"),
        ("version = \"{commit}\"", "no step clones"),
        ("workdir = \"srv\"", "`workdir`"),
        ("user = \":x\"", "`user`"),
    ] {
        let report = Template::parse(&format!("{first}\n{SMALL}"), "x.toml").unwrap_err();
        assert!(report.message.contains(word), "{first}: {report}");
    }
}
