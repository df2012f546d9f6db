//! What is known of the ends of containers.

use super::*;

pub(super) fn trigger(container: &str) -> TriggerRecord {
    TriggerRecord {
        namespace: namespace(),
        container: container.to_owned(),
        cause: EndCause::Oom,
        ended_ms: NOW * 1000 + 7,
        due_at: Some(NOW),
        quiet_until: NOW + 60,
        strikes: 2,
        held_back: 1,
        last: None,
        failures: 0,
    }
}

#[test]
fn what_is_stored_is_found_changed_and_forgotten() {
    let (catalogue, _folder) = catalogue();
    let web = trigger("web");
    assert_eq!(catalogue.trigger(&namespace(), "web").unwrap(), None);
    assert!(catalogue.update_trigger(None, &web).unwrap());
    assert!(
        !catalogue.update_trigger(None, &web).unwrap(),
        "it is there by now"
    );
    let made = TriggerRecord {
        due_at: None,
        last: Some(AutoEnd {
            at: NOW,
            result: Ok(id(1)),
        }),
        ..web.clone()
    };
    assert!(catalogue.update_trigger(Some(&web), &made).unwrap());
    assert!(
        !catalogue.update_trigger(Some(&web), &web).unwrap(),
        "it is another one by now"
    );
    assert_eq!(catalogue.triggers(None).unwrap(), [made]);
    let other: Namespace = "other".parse().unwrap();
    assert!(catalogue.triggers(Some(&other)).unwrap().is_empty());
    catalogue.remove_trigger(&namespace(), "web").unwrap();
    assert!(catalogue.triggers(None).unwrap().is_empty());
}

#[test]
fn a_cause_has_one_word() {
    for cause in EndCause::ALL {
        assert_eq!(cause.as_str().parse(), Ok(cause));
    }
    assert!("".parse::<EndCause>().is_err());
}
