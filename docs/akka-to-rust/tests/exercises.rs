//! The exercises as a reader runs them: `cargo test -p kebne-akka-to-rust --test exercises ch01`.
//!
//! Each fails until it is solved. They are not part of `cargo test`; `proof.rs`, which checks that they fail, is.

#[cfg(test)]
#[path = "../exercises/ch01.rs"]
mod ch01;
#[cfg(test)]
#[path = "../exercises/ch02.rs"]
mod ch02;
#[cfg(test)]
#[path = "../exercises/ch03.rs"]
mod ch03;
#[cfg(test)]
#[path = "../exercises/ch04.rs"]
mod ch04;
#[cfg(test)]
#[path = "../exercises/ch05.rs"]
mod ch05;
#[cfg(test)]
#[path = "../exercises/ch06.rs"]
mod ch06;
#[cfg(test)]
#[path = "../exercises/ch07.rs"]
mod ch07;
#[cfg(test)]
#[path = "../exercises/ch08.rs"]
mod ch08;

#[actix::test]
async fn ch01() {
    ch01::check().await;
}

#[actix::test]
async fn ch02() {
    ch02::check().await;
}

#[actix::test]
async fn ch03() {
    ch03::check().await;
}

#[actix::test]
async fn ch04() {
    ch04::check().await;
}

#[actix::test]
async fn ch05() {
    ch05::check().await;
}

#[actix::test]
async fn ch06() {
    ch06::check().await;
}

#[actix::test]
async fn ch07() {
    ch07::check().await;
}

#[actix::test]
async fn ch08() {
    ch08::check().await;
}
