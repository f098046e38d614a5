//! What is worth telling of a step that went well: whoever acts notes it, whoever asked for the step collects it.
//!
//! Steps go side by side in one task, so each has its own list for as long as it is polled.

use std::cell::RefCell;
use std::future::Future;

tokio::task_local! {
    static NOTES: RefCell<Vec<String>>;
}

/// Notes something of the step in hand; outside of one it is lost.
pub fn note(text: impl Into<String>) {
    let _ = NOTES.try_with(|notes| notes.borrow_mut().push(text.into()));
}

/// What came of a step, and what was noted of it.
pub async fn collect<F: Future>(step: F) -> (F::Output, Vec<String>) {
    let noting = async {
        let result = step.await;
        (result, NOTES.with(RefCell::take))
    };
    NOTES.scope(RefCell::default(), noting).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_of_two_steps_side_by_side_has_its_own_notes() {
        let step = |name: &'static str| async move {
            note(name);
            tokio::task::yield_now().await;
            note(format!("{name} again"));
        };
        note("outside");
        let (one, two) = tokio::join!(collect(step("one")), collect(step("two")));
        assert_eq!((one.1, two.1), (vec!["one".into(), "one again".into()], vec!["two".into(), "two again".into()]));
    }
}
