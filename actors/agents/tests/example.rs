//! The example of embedding does what it shows, within the length that was promised.

#[path = "../examples/two_agents.rs"]
mod two_agents;

#[actix::test]
async fn two_agents_work_together() {
    let said = two_agents::ask().await.ok();
    assert_eq!(said.as_deref(), Some("Found: Found: 7 \"skis\""));
}

#[test]
fn the_example_is_short() {
    let lines = include_str!("../examples/two_agents.rs").lines().count();
    assert!(lines < 60, "{lines} lines");
}
