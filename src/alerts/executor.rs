//! Carries out what the monitor decides (`[alerts.actions]`), and writes each action to the audit log.

use kebne_actors::{Offer, Recipient};
use kebne_monitor::{Command, TAKEN_OUT};

use crate::{
    gateway::{Gateway, GatewayError},
    shares::Shares,
};

/// Returns the recipient that carries commands out on the gateway.
pub(super) fn executor(gateway: &Gateway, shares: &Shares) -> Recipient<Command> {
    let (gateway, shares) = (gateway.clone(), shares.clone());
    Recipient::new(move |command| {
        let (gateway, shares) = (gateway.clone(), shares.clone());
        actix_rt::spawn(async move { carry_out(&gateway, &shares, command).await });
        Offer::Enqueued
    })
}

async fn carry_out(gateway: &Gateway, shares: &Shares, command: Command) {
    let (action, subject, reason, result) = match command {
        Command::Prewarm { lane, reason } => {
            let result = gateway.prewarm(&lane).await.map(drop);
            ("prewarm", lane, reason, result)
        }
        Command::Close { lane, reason } => {
            let why = format!("{TAKEN_OUT}. {}", reason.trim_end_matches('.'));
            let result = gateway.close_because(&lane, &why).await.map(drop);
            ("close", lane, reason, result)
        }
        Command::Reopen { lane, reason } => {
            let result = reopen(gateway, &lane).await;
            ("reopen", lane, reason, result)
        }
        Command::SetShare {
            key,
            percent,
            reason,
        } => {
            shares.set(&key, percent);
            let action = if percent < 100 {
                "lower_share"
            } else {
                "restore_share"
            };
            (action, key, reason, Ok(()))
        }
    };
    match result {
        Ok(()) => {
            tracing::info!(target: "kebne::audit", action, subject = &*subject, reason, "the gateway acted by itself");
        }
        Err(error) => {
            tracing::warn!(target: "kebne::audit", action, subject = &*subject, reason, %error, "the gateway could not act by itself");
        }
    }
}

/// Opens a lane, and sends it a first call of its own, so that the next caller is not the one who finds out.
async fn reopen(gateway: &Gateway, lane: &str) -> Result<(), GatewayError> {
    if !gateway.reopen_unless_decided(lane).await? {
        tracing::info!(
            lane,
            "the backend stays out of service, as an operator decided"
        );
        return Ok(());
    }
    if let Err(error) = gateway.prewarm(lane).await {
        tracing::debug!(lane, %error, "the first call of a reopened lane was not sent");
    }
    Ok(())
}
