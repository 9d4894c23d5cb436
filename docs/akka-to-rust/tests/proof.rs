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
#[path = "../exercises/ch09.rs"]
mod exercise09;
#[cfg(test)]
#[path = "../exercises/ch10.rs"]
mod exercise10;
#[cfg(test)]
#[path = "../exercises/ch11.rs"]
mod exercise11;
#[cfg(test)]
#[path = "../exercises/ch12.rs"]
mod exercise12;
#[cfg(test)]
#[path = "../exercises/ch13.rs"]
mod exercise13;
#[cfg(test)]
#[path = "../exercises/ch14.rs"]
mod exercise14;
#[cfg(test)]
#[path = "../exercises/ch15.rs"]
mod exercise15;
#[cfg(test)]
#[path = "../exercises/ch16.rs"]
mod exercise16;
#[cfg(test)]
#[path = "../exercises/ch17.rs"]
mod exercise17;
#[cfg(test)]
#[path = "../exercises/ch18.rs"]
mod exercise18;
#[cfg(test)]
#[path = "../exercises/ch19.rs"]
mod exercise19;
#[cfg(test)]
#[path = "../exercises/ch20.rs"]
mod exercise20;
#[cfg(test)]
#[path = "../exercises/ch21.rs"]
mod exercise21;
#[cfg(test)]
#[path = "../exercises/ch22.rs"]
mod exercise22;
#[cfg(test)]
#[path = "../exercises/ch23.rs"]
mod exercise23;
#[cfg(test)]
#[path = "../exercises/ch24.rs"]
mod exercise24;
#[cfg(test)]
#[path = "../exercises/ch25.rs"]
mod exercise25;
#[cfg(test)]
#[path = "../exercises/ch26.rs"]
mod exercise26;
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
#[cfg(test)]
#[path = "../solutions/ch09.rs"]
mod solution09;
#[cfg(test)]
#[path = "../solutions/ch10.rs"]
mod solution10;
#[cfg(test)]
#[path = "../solutions/ch11.rs"]
mod solution11;
#[cfg(test)]
#[path = "../solutions/ch12.rs"]
mod solution12;
#[cfg(test)]
#[path = "../solutions/ch13.rs"]
mod solution13;
#[cfg(test)]
#[path = "../solutions/ch14.rs"]
mod solution14;
#[cfg(test)]
#[path = "../solutions/ch15.rs"]
mod solution15;
#[cfg(test)]
#[path = "../solutions/ch16.rs"]
mod solution16;
#[cfg(test)]
#[path = "../solutions/ch17.rs"]
mod solution17;
#[cfg(test)]
#[path = "../solutions/ch18.rs"]
mod solution18;
#[cfg(test)]
#[path = "../solutions/ch19.rs"]
mod solution19;
#[cfg(test)]
#[path = "../solutions/ch20.rs"]
mod solution20;
#[cfg(test)]
#[path = "../solutions/ch21.rs"]
mod solution21;
#[cfg(test)]
#[path = "../solutions/ch22.rs"]
mod solution22;
#[cfg(test)]
#[path = "../solutions/ch23.rs"]
mod solution23;
#[cfg(test)]
#[path = "../solutions/ch24.rs"]
mod solution24;
#[cfg(test)]
#[path = "../solutions/ch25.rs"]
mod solution25;
#[cfg(test)]
#[path = "../solutions/ch26.rs"]
mod solution26;

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

#[actix::test]
#[should_panic(expected = "exercise 9: ")]
async fn exercise_9_fails_as_given_out() {
    exercise09::check().await;
}

#[actix::test]
async fn solution_9_passes() {
    solution09::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 10: ")]
async fn exercise_10_fails_as_given_out() {
    exercise10::check().await;
}

#[actix::test]
async fn solution_10_passes() {
    solution10::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 11: ")]
async fn exercise_11_fails_as_given_out() {
    exercise11::check().await;
}

#[actix::test]
async fn solution_11_passes() {
    solution11::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 12: ")]
async fn exercise_12_fails_as_given_out() {
    exercise12::check().await;
}

#[actix::test]
async fn solution_12_passes() {
    solution12::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 13: ")]
async fn exercise_13_fails_as_given_out() {
    exercise13::check().await;
}

#[actix::test]
async fn solution_13_passes() {
    solution13::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 14: ")]
async fn exercise_14_fails_as_given_out() {
    exercise14::check().await;
}

#[actix::test]
async fn solution_14_passes() {
    solution14::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 15: ")]
async fn exercise_15_fails_as_given_out() {
    exercise15::check().await;
}

#[actix::test]
async fn solution_15_passes() {
    solution15::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 16: ")]
async fn exercise_16_fails_as_given_out() {
    exercise16::check().await;
}

#[actix::test]
async fn solution_16_passes() {
    solution16::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 17: ")]
async fn exercise_17_fails_as_given_out() {
    exercise17::check().await;
}

#[actix::test]
async fn solution_17_passes() {
    solution17::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 18: ")]
async fn exercise_18_fails_as_given_out() {
    exercise18::check().await;
}

#[actix::test]
async fn solution_18_passes() {
    solution18::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 19: ")]
async fn exercise_19_fails_as_given_out() {
    exercise19::check().await;
}

#[actix::test]
async fn solution_19_passes() {
    solution19::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 20: ")]
async fn exercise_20_fails_as_given_out() {
    exercise20::check().await;
}

#[actix::test]
async fn solution_20_passes() {
    solution20::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 21: ")]
async fn exercise_21_fails_as_given_out() {
    exercise21::check().await;
}

#[actix::test]
async fn solution_21_passes() {
    solution21::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 22: ")]
async fn exercise_22_fails_as_given_out() {
    exercise22::check().await;
}

#[actix::test]
async fn solution_22_passes() {
    solution22::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 23: ")]
async fn exercise_23_fails_as_given_out() {
    exercise23::check().await;
}

#[actix::test]
async fn solution_23_passes() {
    solution23::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 24: ")]
async fn exercise_24_fails_as_given_out() {
    exercise24::check().await;
}

#[actix::test]
async fn solution_24_passes() {
    solution24::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 25: ")]
async fn exercise_25_fails_as_given_out() {
    exercise25::check().await;
}

#[actix::test]
async fn solution_25_passes() {
    solution25::check().await;
}

#[actix::test]
#[should_panic(expected = "exercise 26: ")]
async fn exercise_26_fails_as_given_out() {
    exercise26::check().await;
}

#[actix::test]
async fn solution_26_passes() {
    solution26::check().await;
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
