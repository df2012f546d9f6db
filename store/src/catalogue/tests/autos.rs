//! What is captured by itself.

use super::*;

pub(super) fn auto(name: &str) -> AutoRecord {
    AutoRecord {
        namespace: namespace(),
        name: name.parse().unwrap(),
        source: AutoSource::Path("/srv".into()),
        schedule: "hourly".to_owned(),
        with_memory: false,
        next_at: Some(NOW),
        last: None,
        failures: 0,
    }
}

pub(super) fn ended(auto: &AutoRecord) -> AutoRecord {
    AutoRecord {
        next_at: None,
        last: Some(AutoEnd {
            at: NOW,
            result: Err("the folder is gone".to_owned()),
        }),
        failures: 3,
        ..auto.clone()
    }
}

#[test]
fn what_is_stored_is_found_changed_and_forgotten() {
    let (catalogue, _folder) = catalogue();
    let web = AutoRecord {
        source: AutoSource::Container("web".to_owned()),
        with_memory: true,
        last: Some(AutoEnd {
            at: 5,
            result: Ok(id(1)),
        }),
        ..auto("web")
    };
    for one in [&auto("db"), &web] {
        catalogue.set_auto(one, 2).unwrap();
    }
    catalogue.set_auto(&web, 2).unwrap();
    assert!(matches!(
        catalogue.set_auto(&auto("new"), 2),
        Err(Error::Limit { .. })
    ));
    assert_eq!(catalogue.autos(None).unwrap(), [auto("db"), web.clone()]);
    let other: Namespace = "other".parse().unwrap();
    assert!(catalogue.autos(Some(&other)).unwrap().is_empty());
    let changed = ended(&web);
    assert!(catalogue.update_auto(&web, &changed).unwrap());
    assert!(
        !catalogue.update_auto(&web, &web).unwrap(),
        "it is another one by now"
    );
    assert_eq!(catalogue.auto(&namespace(), &web.name).unwrap(), changed);
    assert_eq!(
        catalogue.remove_auto(&namespace(), &web.name).unwrap(),
        changed
    );
    assert!(
        !catalogue.update_auto(&changed, &web).unwrap(),
        "it is gone"
    );
    assert!(matches!(
        catalogue.auto(&namespace(), &web.name),
        Err(Error::NotFound { .. })
    ));
}
