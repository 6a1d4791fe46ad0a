//! A submission as JSON: whatever is taken becomes a well-formed action that reads back the same.

#![no_main]

use ledgerun::wire::action::{Action, Submission};
use ledgerun::wire::cb::{Errors, Modes, validate};
use ledgerun::wire::json;
use libfuzzer_sys::fuzz_target;

fn judge(action: &Action) {
    let bytes = action.object().bytes();
    assert_eq!(validate(bytes, Modes::ALL), Errors::NONE, "canonical");
    let text = json::to_string(action.object());
    let again = json::parse(text.as_bytes()).expect("JSON that we wrote");
    let again = Action::from_json(&again).expect("an action that we wrote");
    assert_eq!(again.id(), action.id());
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = json::parse(bytes) else { return };
    match Submission::from_json(&value) {
        Ok(Submission::One(action)) => judge(&action),
        Ok(Submission::Batch(items)) => items.iter().flatten().for_each(judge),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
