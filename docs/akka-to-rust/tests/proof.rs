//! Each exercise fails as distributed, for the documented reason, and its solution passes the same check.

use std::{fs, path::Path};

#[cfg(test)]
#[path = "../exercises/ch01.rs"]
mod exercise01;
#[cfg(test)]
#[path = "../exercises/ch02.rs"]
mod exercise02;
#[cfg(test)]
#[path = "../exercises/ch03.rs"]
mod exercise03;
#[cfg(test)]
#[path = "../exercises/ch04.rs"]
mod exercise04;
#[cfg(test)]
#[path = "../exercises/ch05.rs"]
mod exercise05;
#[cfg(test)]
#[path = "../exercises/ch06.rs"]
mod exercise06;
#[cfg(test)]
#[path = "../exercises/ch07.rs"]
mod exercise07;
#[cfg(test)]
#[path = "../exercises/ch08.rs"]
mod exercise08;
#[cfg(test)]
#[path = "../solutions/ch01.rs"]
mod solution01;
#[cfg(test)]
#[path = "../solutions/ch02.rs"]
mod solution02;
#[cfg(test)]
#[path = "../solutions/ch03.rs"]
mod solution03;
#[cfg(test)]
#[path = "../solutions/ch04.rs"]
mod solution04;
#[cfg(test)]
#[path = "../solutions/ch05.rs"]
mod solution05;
#[cfg(test)]
#[path = "../solutions/ch06.rs"]
mod solution06;
#[cfg(test)]
#[path = "../solutions/ch07.rs"]
mod solution07;
#[cfg(test)]
#[path = "../solutions/ch08.rs"]
mod solution08;

#[actix::test]
#[should_panic(expected = "exercise 1: ")]
async fn exercise_1_fails_as_given_out() {
    exercise01::check().await;
}

#[actix::test]
async fn solution_1_passes() {
    solution01::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 2: ")]
async fn exercise_2_fails_as_given_out() {
    exercise02::check().await;
}

#[actix::test]
async fn solution_2_passes() {
    solution02::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 3: ")]
async fn exercise_3_fails_as_given_out() {
    exercise03::check().await;
}

#[actix::test]
async fn solution_3_passes() {
    solution03::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 4: ")]
async fn exercise_4_fails_as_given_out() {
    exercise04::check().await;
}

#[actix::test]
async fn solution_4_passes() {
    solution04::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 5: ")]
async fn exercise_5_fails_as_given_out() {
    exercise05::check().await;
}

#[actix::test]
async fn solution_5_passes() {
    solution05::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 6: ")]
async fn exercise_6_fails_as_given_out() {
    exercise06::check().await;
}

#[actix::test]
async fn solution_6_passes() {
    solution06::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 7: ")]
async fn exercise_7_fails_as_given_out() {
    exercise07::check().await;
}

#[actix::test]
async fn solution_7_passes() {
    solution07::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 8: ")]
async fn exercise_8_fails_as_given_out() {
    exercise08::check().await;
}

#[actix::test]
async fn solution_8_passes() {
    solution08::check().await;
}

/// The line after which an exercise and its solution are equal.
const CHECK: &str = "// The check: leave it as it is.";

#[test]
fn an_exercise_and_its_solution_have_the_same_check() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut exercises: Vec<_> = fs::read_dir(here.join("exercises"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    exercises.sort();
    assert!(!exercises.is_empty());
    let this = include_str!("proof.rs");
    for name in exercises {
        let read = |folder| fs::read_to_string(here.join(folder).join(&name)).unwrap();
        let (exercise, solution) = (read("exercises"), read("solutions"));
        let check = |text: &str| text.split_once(CHECK).map(|(_, check)| check.to_owned());
        assert!(check(&exercise).is_some(), "{name:?} has no check");
        assert_eq!(check(&exercise), check(&solution), "{name:?}");
        let listed = format!("\"../exercises/{}\"", name.display());
        assert!(this.contains(&listed), "{name:?} is not proved");
    }
}
