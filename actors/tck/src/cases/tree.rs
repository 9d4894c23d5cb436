//! Parents, children, names and paths.

use super::prelude::*;

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L1;
    a_path_names_the_guardian_and_the_actor => "ActorContextSpec: return the right context info", Same;
    a_childs_path_extends_its_parents => "ActorSelectionSpec: select actors by their path", Same;
    an_actor_knows_its_own_path => "ActorContextSpec: return the right context info", Same;
    a_name_that_is_taken_gets_a_number => "SpawnProtocolSpec: spawn with unique name when given name is taken",
        Different("every spawn behaves as Pekko's `SpawnProtocol`; Pekko's own `spawn` throws `InvalidActorNameException`");
    a_childs_name_that_is_taken_gets_a_number => "SpawnProtocolSpec: spawn with unique name when given name is taken",
        Different("every spawn behaves as Pekko's `SpawnProtocol`; Pekko's own `spawn` throws `InvalidActorNameException`");
    a_name_is_free_again_after_its_actor_stopped => "DeathWatchSpec: be able to watch a child with the same name after the old died", Same;
    two_parents_may_have_children_of_one_name => "ActorRefSpec: support nested actorOfs", Same;
    a_parent_knows_its_children => "ActorContextSpec: return right info about children", Same;
    a_stopped_child_is_no_longer_known => "ActorContextSpec: return right info about children", Same;
    a_child_handles_messages => "SpawnProtocolSpec: spawn child actor", Same;
    a_child_can_have_children => "ActorRefSpec: support nested actorOfs", Same;
    a_child_spawned_in_the_start_hook_is_there_at_the_first_message => "ActorRefSpec: support nested actorOfs", Same;
    children_stop_before_their_parent => "GracefulStopSpec: properly stop the children and perform the cleanup", Same;
    grandchildren_stop_before_children => "GracefulStopSpec: properly stop the children and perform the cleanup", Same;
    a_parent_waits_for_a_slow_child_before_it_stops => "GracefulStopSpec: properly stop the children and perform the cleanup", Same;
    a_child_of_a_stopped_parent_is_closed => "ActorRefSpec: stop when sent a poison pill", Same;
    a_parent_stops_its_child => "ActorContextSpec: stop a child actor", Same;
    a_stranger_cannot_be_stopped_as_a_child => "ActorContextSpec: not stop non-child actor",
        Different("the answer says that it is no child, where Pekko throws `IllegalArgumentException`");
    a_parent_lives_on_when_its_child_stops => "ActorContextSpec: stop a child actor", Same;
    a_failed_child_does_not_fail_its_parent_unless_watched => "WatchSpec: notify a parent of child termination because of failure", Same;
    a_failed_child_does_not_disturb_its_sibling => "SupervisorSpec: kill single actor OneForOne", Same;
    the_tree_lists_every_living_actor => "ActorSelectionSpec: identify actors with wildcard selection correctly", Same;
];

/// A parent with one child.
async fn family(driver: &dyn Driver) -> Result<(World, Puppet, Puppet), Failure> {
    let (world, parent) = driver.with(plain("parent")).await?;
    let child = parent.ask_puppet(plain("child").child()).await?;
    world.settle().await?;
    Ok((world, parent, child))
}

async fn a_path_names_the_guardian_and_the_actor(driver: &dyn Driver) -> CaseResult {
    let (_world, a) = driver.with(plain("a")).await?;
    ensure_eq("path", &a.path()?, &"/user/a".to_owned())
}

async fn a_childs_path_extends_its_parents(driver: &dyn Driver) -> CaseResult {
    let (_world, parent, child) = family(driver).await?;
    ensure_eq("path", &child.path()?, &format!("{}/child", parent.path()?))
}

async fn an_actor_knows_its_own_path(driver: &dyn Driver) -> CaseResult {
    let (_world, a) = driver.with(plain("a")).await?;
    let path = a.ask(Path).await?;
    ensure_eq("path", &path, &Answer::Text(a.path()?))
}

async fn a_name_that_is_taken_gets_a_number(driver: &dyn Driver) -> CaseResult {
    let (world, first) = driver.with(plain("a")).await?;
    let second = world.spawn(plain("a")).await?;
    let (first, second) = (first.path()?, second.path()?);
    ensure(second.starts_with(&format!("{first}-")), || {
        format!("the second `{first}` is at `{second}`")
    })
}

async fn a_childs_name_that_is_taken_gets_a_number(driver: &dyn Driver) -> CaseResult {
    let (_world, parent, first) = family(driver).await?;
    let second = parent.ask_puppet(plain("child").child()).await?;
    let (first, second) = (first.path()?, second.path()?);
    ensure(second.starts_with(&format!("{first}-")), || {
        format!("the second `{first}` is at `{second}`")
    })
}

async fn a_name_is_free_again_after_its_actor_stopped(driver: &dyn Driver) -> CaseResult {
    let (world, first) = driver.with(plain("a")).await?;
    let path = first.path()?;
    first.tell(Stop)?;
    world.settle().await?;
    let second = world.spawn(plain("a")).await?;
    ensure_eq("path", &second.path()?, &path)
}

async fn two_parents_may_have_children_of_one_name(driver: &dyn Driver) -> CaseResult {
    let world = driver.open();
    let mut paths = Vec::new();
    for name in ["a", "b"] {
        let parent = world.spawn(plain(name)).await?;
        let child = parent.ask_puppet(plain("child").child()).await?;
        paths.push(child.path()?);
    }
    ensure_eq(
        "paths",
        &paths,
        &["/user/a/child", "/user/b/child"]
            .map(str::to_owned)
            .to_vec(),
    )
}

async fn expect_children(parent: &Puppet, expected: &[&str]) -> CaseResult {
    let expected = expected.iter().map(|name| (*name).to_owned()).collect();
    ensure_eq(
        "children",
        &parent.ask(Children).await?,
        &Answer::Texts(expected),
    )
}

async fn a_parent_knows_its_children(driver: &dyn Driver) -> CaseResult {
    let (_world, parent) = driver.with(plain("parent")).await?;
    expect_children(&parent, &[]).await?;
    for name in ["1", "2"] {
        parent.ask_puppet(plain(name).child()).await?;
    }
    expect_children(&parent, &["1", "2"]).await
}

async fn a_stopped_child_is_no_longer_known(driver: &dyn Driver) -> CaseResult {
    let (world, parent, child) = family(driver).await?;
    child.tell(Stop)?;
    world.settle().await?;
    expect_children(&parent, &[]).await
}

async fn a_child_handles_messages(driver: &dyn Driver) -> CaseResult {
    let (world, _parent, child) = family(driver).await?;
    child.tell(Note("1"))?;
    world.expect_notes(&["child 1"]).await
}

async fn a_child_can_have_children(driver: &dyn Driver) -> CaseResult {
    let (world, _parent, child) = family(driver).await?;
    let grandchild = child.ask_puppet(plain("grandchild").child()).await?;
    grandchild.tell(Note("1"))?;
    world.expect_notes(&["grandchild 1"]).await
}

async fn a_child_spawned_in_the_start_hook_is_there_at_the_first_message(
    driver: &dyn Driver,
) -> CaseResult {
    let spec = plain("parent").starting(|_| plain("child").child());
    let (_world, parent) = driver.with(spec).await?;
    expect_children(&parent, &["child"]).await
}

async fn children_stop_before_their_parent(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::ChildrenStopFirst)?;
    let (world, parent, _child) = family(driver).await?;
    world.forget();
    parent.tell(Stop)?;
    world
        .expect_entries(&["child stopped", "parent stopped"])
        .await
}

async fn grandchildren_stop_before_children(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::ChildrenStopFirst)?;
    let (world, parent, child) = family(driver).await?;
    let _grandchild = child.ask_puppet(plain("grandchild").child()).await?;
    world.settle().await?;
    world.forget();
    parent.tell(Stop)?;
    world
        .expect_entries(&["grandchild stopped", "child stopped", "parent stopped"])
        .await
}

async fn a_parent_waits_for_a_slow_child_before_it_stops(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::ChildrenStopFirst)?;
    let (world, parent, child) = family(driver).await?;
    child.tell([Hold(SECOND), TellMyself(Note("after").into())])?;
    world.settle().await?;
    world.forget();
    parent.tell(Stop)?;
    world.pass(2 * SECOND).await?;
    let mut order = world.entries();
    order.retain(|entry| entry.ends_with("stopped"));
    let expected = ["child stopped", "parent stopped"].map(str::to_owned);
    ensure_eq("hooks", &order, &expected.to_vec())
}

async fn a_child_of_a_stopped_parent_is_closed(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::ChildrenStopFirst)?;
    let (world, parent, child) = family(driver).await?;
    parent.tell(Stop)?;
    world.settle().await?;
    ensure(!child.is_alive(), || "the child lives".to_owned())?;
    ensure_eq("offer", &child.tell(Note("late"))?, &Offer::Closed)
}

async fn a_parent_stops_its_child(driver: &dyn Driver) -> CaseResult {
    let (world, parent, child) = family(driver).await?;
    let is_child = parent.ask(StopChild(child.clone())).await?;
    ensure_eq("is a child", &is_child, &Answer::Yes(true))?;
    world.settle().await?;
    ensure_eq(
        "alive",
        &[parent.is_alive(), child.is_alive()],
        &[true, false],
    )
}

async fn a_stranger_cannot_be_stopped_as_a_child(driver: &dyn Driver) -> CaseResult {
    let (world, parent, _child) = family(driver).await?;
    let stranger = world.spawn(plain("stranger")).await?;
    let is_child = parent.ask(StopChild(stranger.clone())).await?;
    ensure_eq("is a child", &is_child, &Answer::Yes(false))?;
    world.settle().await?;
    ensure(stranger.is_alive(), || "the stranger stopped".to_owned())
}

async fn a_parent_lives_on_when_its_child_stops(driver: &dyn Driver) -> CaseResult {
    let (world, parent, child) = family(driver).await?;
    child.tell(Stop)?;
    world.settle().await?;
    parent.tell(Note("1"))?;
    world.expect_notes(&["parent 1"]).await
}

async fn a_failed_child_does_not_fail_its_parent_unless_watched(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::StopsByDefault)?;
    let (world, parent, child) = family(driver).await?;
    child.tell(Panic("on purpose"))?;
    world.settle().await?;
    ensure_eq(
        "alive",
        &[parent.is_alive(), child.is_alive()],
        &[true, false],
    )
}

async fn a_failed_child_does_not_disturb_its_sibling(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::StopsByDefault)?;
    let (world, parent, child) = family(driver).await?;
    let sibling = parent.ask_puppet(plain("sibling").child()).await?;
    sibling.tell(Add(1))?;
    child.tell(Panic("on purpose"))?;
    world.settle().await?;
    ensure_eq("sum", &sibling.ask_number(Get).await?, &1)
}

async fn the_tree_lists_every_living_actor(driver: &dyn Driver) -> CaseResult {
    let (world, parent, child) = family(driver).await?;
    let _other = world.spawn(plain("other")).await?;
    let expected = ["/user/other", "/user/parent", "/user/parent/child"];
    ensure_eq(
        "tree",
        &world.backend.tree()?,
        &expected.map(str::to_owned).to_vec(),
    )?;
    child.tell(Stop)?;
    parent.tell(Stop)?;
    world.settle().await?;
    ensure_eq(
        "tree",
        &world.backend.tree()?,
        &vec!["/user/other".to_owned()],
    )
}
