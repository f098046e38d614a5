//! What is posted.

use super::*;
use crate::model::names::{AppName, ReleaseId};
use crate::model::telling::News;

fn telling(app: Option<&str>, news: News) -> Telling {
    Telling {
        app: app.map(|app| AppName::new(app).unwrap()),
        news,
        message: "status == 200 <does> not hold & more".to_owned(),
        release: ReleaseId::new("r2").ok(),
        revision: Some("0123456789012345678901234567890123456789".to_owned()),
        at: Timestamp::from_millisecond(1_700_000_000_500).unwrap(),
    }
}

#[test]
fn an_event_has_the_fields_of_flux() {
    insta::assert_json_snapshot!(event("web01", &telling(Some("shop"), News::Unhealthy)));
    let of_all = event("web01", &telling(None, News::SourceRecovered));
    assert_eq!(of_all["involvedObject"]["kind"], "Agent");
    assert_eq!(of_all["severity"], "info");
}

#[test]
fn slack_gets_what_it_understands() {
    insta::assert_json_snapshot!(slack("web01", &telling(Some("shop"), News::RolledBack)));
}

#[test]
fn a_signature_is_that_of_rfc_4231() {
    let made = signature("Jefe", b"what do ya want for nothing?").unwrap();
    assert_eq!(made, "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}
