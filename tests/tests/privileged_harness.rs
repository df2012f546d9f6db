//! The harness itself, without the product: a host starts, holds what tests need, and leaves nothing behind.

use anyhow::Result;
use snap_tests::{
    Host, HostOptions, Image, LoopFolder, Tree, change_lower_cases, fill_lower_cases, fill_nasty,
};

#[test]
fn a_host_runs_containers_and_leaves_nothing_behind() -> Result<()> {
    let host = Host::prepare(&HostOptions::default())?;
    host.run_idle("one", Image::Busybox)?;
    assert_eq!(host.exec("one", "echo seen")?, "seen");
    assert_eq!(host.task_status("one")?.as_deref(), Some("RUNNING"));
    let pid = host.task_pid("one")?;
    let folder = host.folder().to_owned();
    drop(host);
    assert!(!folder.exists());
    assert!(!std::fs::exists(format!("/proc/{pid}"))?);
    Ok(())
}

#[test]
fn an_overlay_holds_every_nasty_case() -> Result<()> {
    let host = Host::prepare(&HostOptions::default())?;
    let lower = host.make_folder("lower")?;
    fill_lower_cases(&lower)?;
    host.import_layers("snap.test/cases:1", &[&Image::Busybox.rootfs()?, &lower])?;
    host.run("one", "snap.test/cases:1", "sleep 1000")?;
    change_lower_cases(&host.rootfs("one"))?;
    let nasty = host.rootfs("one").join("nasty");
    std::fs::create_dir(&nasty)?;
    fill_nasty(&nasty)?;
    let tree = Tree::read(&host.rootfs("one"))?;
    assert!(tree.nodes.len() > 3400, "{} nodes", tree.nodes.len());
    let again = Tree::read(&host.rootfs("one"))?;
    assert_eq!(tree.differences(&again), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_loop_folder_is_a_file_system_of_its_own() -> Result<()> {
    let folder = LoopFolder::new("xfs", 400 << 20)?;
    std::fs::write(folder.path().join("file"), "content")?;
    assert_eq!(std::fs::read(folder.path().join("file"))?, b"content");
    Ok(())
}
