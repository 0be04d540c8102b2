//! The folders of the crate depend on each other in one direction: `text` on nothing, `engine` on `text`, `answers` on
//! both.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken fixture ends the test")]

use std::path::Path;

#[test]
fn folders_depend_in_one_direction() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (folder, allowed) in [("text", &["text"][..]), ("engine", &["text", "engine"])] {
        for file in std::fs::read_dir(src.join(folder)).expect("a folder") {
            let path = file.expect("an entry").path();
            let code = std::fs::read_to_string(&path).expect("a source file");
            for (number, line) in (1..).zip(code.lines()).filter(|(_, l)| !l.trim_start().starts_with("//")) {
                for used in line.split("crate::").skip(1) {
                    let used = used.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
                    let place = format!("{}:{number}", path.display());
                    assert!(allowed.contains(&used), "{place}: `{folder}` uses `crate::{used}`");
                }
            }
        }
    }
}
