//! The list of all operations.

use std::{collections::BTreeSet, fs};

/// Each operation is listed with whose data it is about. `tests/blackbox/privacy.rs` tries each one of tenants as another tenant.
#[test]
fn each_operation_is_listed_with_whose_data_it_is_about() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/routes.tsv");
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut listed = BTreeSet::new();
    for line in lines {
        let fields: Vec<&str> = line.split('\t').collect();
        let [method, path, class] = fields[..] else {
            panic!("{line}");
        };
        let classes = [
            "tenant", "model", "prompts", "caller", "operator", "public", "lab", "events",
        ];
        assert!(classes.contains(&class), "{line}");
        let is_built = (cfg!(feature = "lab") || class != "lab")
            && (cfg!(feature = "mcp") || !path.contains("mcp"));
        if is_built {
            assert!(
                listed.insert((method.to_owned(), path.to_owned())),
                "{line}"
            );
        }
    }
    let operations = super::operations();
    let found = operations.iter().flat_map(|operation| {
        let (path, methods) = operation.listed();
        let methods = methods.into_iter();
        methods.map(move |method| {
            let method = method.split(',').next().unwrap_or_default();
            (method.to_owned(), path.to_owned())
        })
    });
    let found: BTreeSet<_> = found.collect();
    let missing: Vec<_> = found.difference(&listed).collect();
    assert!(missing.is_empty(), "add to tests/routes.tsv: {missing:?}");
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(gone.is_empty(), "remove from tests/routes.tsv: {gone:?}");
}
