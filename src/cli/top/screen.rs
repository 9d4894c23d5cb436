//! The terminal: its raw mode, the keys, and a thread that looks at the gateway.

use std::{
    io::{self, IsTerminal},
    sync::mpsc::{self, TryRecvError},
    thread,
    time::Duration,
};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::cli::top::{EVERY, client::Client, model::Model, view};

/// The longest time until a key or a new look is seen.
const TICK: Duration = Duration::from_millis(100);

/// Shows the gateway until `q`, Escape or Ctrl-C.
///
/// # Errors
/// Returns an error if the terminal cannot be used.
pub(super) fn run(client: Client, has_colour: bool) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return Err(io::Error::other("standard output is not a terminal"));
    }
    let address = client.address();
    let (sender, looks) = mpsc::sync_channel(1);
    // It ends with the process, or when nobody takes its looks.
    thread::Builder::new()
        .name("looks".to_owned())
        .spawn(move || {
            while sender.send(client.read()).is_ok() {
                thread::sleep(EVERY);
            }
        })?;
    let mut terminal = ratatui::try_init()?;
    let mut model = Model::default();
    let shown = loop {
        match looks.try_recv() {
            Ok(look) => model.take(look),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => break Ok(()),
        }
        if let Err(error) = terminal.draw(|frame| view::draw(frame, &model, &address, has_colour)) {
            break Err(error);
        }
        match quits(&mut model) {
            Ok(false) => {}
            Ok(true) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    ratatui::try_restore()?;
    shown
}

/// Waits for a key for a tick; returns `true` if it ends the program.
fn quits(model: &mut Model) -> io::Result<bool> {
    if !event::poll(TICK)? {
        return Ok(false);
    }
    let Event::Key(key) = event::read()? else {
        return Ok(false);
    };
    if key.kind == KeyEventKind::Release {
        return Ok(false);
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return Ok(true),
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(true),
        KeyCode::Down | KeyCode::Char('j') => model.select(true),
        KeyCode::Up | KeyCode::Char('k') => model.select(false),
        _ => {}
    }
    Ok(false)
}
