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
#[cfg(test)]
#[path = "../exercises/ch09.rs"]
mod ch09;
#[cfg(test)]
#[path = "../exercises/ch10.rs"]
mod ch10;
#[cfg(test)]
#[path = "../exercises/ch11.rs"]
mod ch11;
#[cfg(test)]
#[path = "../exercises/ch12.rs"]
mod ch12;
#[cfg(test)]
#[path = "../exercises/ch13.rs"]
mod ch13;
#[cfg(test)]
#[path = "../exercises/ch14.rs"]
mod ch14;
#[cfg(test)]
#[path = "../exercises/ch15.rs"]
mod ch15;
#[cfg(test)]
#[path = "../exercises/ch16.rs"]
mod ch16;
#[cfg(test)]
#[path = "../exercises/ch17.rs"]
mod ch17;
#[cfg(test)]
#[path = "../exercises/ch18.rs"]
mod ch18;
#[cfg(test)]
#[path = "../exercises/ch19.rs"]
mod ch19;
#[cfg(test)]
#[path = "../exercises/ch20.rs"]
mod ch20;
#[cfg(test)]
#[path = "../exercises/ch21.rs"]
mod ch21;
#[cfg(test)]
#[path = "../exercises/ch22.rs"]
mod ch22;
#[cfg(test)]
#[path = "../exercises/ch23.rs"]
mod ch23;
#[cfg(test)]
#[path = "../exercises/ch24.rs"]
mod ch24;
#[cfg(test)]
#[path = "../exercises/ch25.rs"]
mod ch25;
#[cfg(test)]
#[path = "../exercises/ch26.rs"]
mod ch26;

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

#[actix::test]
async fn ch09() {
    ch09::check().await;
}

#[actix::test]
async fn ch10() {
    ch10::check().await;
}

#[actix::test]
async fn ch11() {
    ch11::check().await;
}

#[actix::test]
async fn ch12() {
    ch12::check().await;
}

#[actix::test]
async fn ch13() {
    ch13::check().await;
}

#[actix::test]
async fn ch14() {
    ch14::check().await;
}

#[actix::test]
async fn ch15() {
    ch15::check().await;
}

#[actix::test]
async fn ch16() {
    ch16::check().await;
}

#[actix::test]
async fn ch17() {
    ch17::check().await;
}

#[actix::test]
async fn ch18() {
    ch18::check().await;
}

#[actix::test]
async fn ch19() {
    ch19::check().await;
}

#[actix::test]
async fn ch20() {
    ch20::check().await;
}

#[actix::test]
async fn ch21() {
    ch21::check().await;
}

#[actix::test]
async fn ch22() {
    ch22::check().await;
}

#[actix::test]
async fn ch23() {
    ch23::check().await;
}

#[actix::test]
async fn ch24() {
    ch24::check().await;
}

#[actix::test]
async fn ch25() {
    ch25::check().await;
}

#[actix::test]
async fn ch26() {
    ch26::check().await;
}
