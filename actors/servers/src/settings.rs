//! The settings of processes and of the budget that they share.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use kebne_settings::{ByteCount, HumanDuration, SettingsError, Validate, join, validate_each};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::room::Room;

/// The device of processes that name none.
pub const DEVICE: &str = "default";
/// The text in arguments and in values of the environment that stands for the port.
pub(crate) const PORT_PLACEHOLDER: &str = "{port}";
/// The variables that are passed on by default: without them few programs run.
pub(crate) const PASS_ENV: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];

/// The longest `stop_grace`: the stop of the service waits for it.
const STOP_GRACE_MAX: Duration = Duration::from_mins(5);

/// The port of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Port {
    /// A free one is chosen when the service starts.
    #[default]
    Auto,
    /// This one.
    Fixed(u16),
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed(port) => serializer.serialize_u16(*port),
        }
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Port;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("`\"auto\"` or a port from 1 to 65535")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Port, E> {
                match text {
                    "auto" => Ok(Port::Auto),
                    // A variable of the environment is a text.
                    _ => match text.parse() {
                        Ok(port) if port > 0 => Ok(Port::Fixed(port)),
                        _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                    },
                }
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Port, E> {
                match u16::try_from(number) {
                    Ok(port) if port > 0 => Ok(Port::Fixed(port)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Port, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// A process that is started when a call waits for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessSettings {
    /// The program: a path, or a name that is looked up in `PATH`. No shell is used. Required.
    pub command: String,
    /// Its arguments; `{port}` stands for the port. Default none.
    pub args: Vec<String>,
    /// The values of its environment; `{port}` stands for the port. Default none.
    pub env: BTreeMap<String, String>,
    /// The variables of this program's environment that are passed on; all others are not. Default `["PATH", "HOME", "LANG",
    /// "TMPDIR"]`.
    pub pass_env: Vec<String>,
    /// Its folder. Default: that of this program.
    pub cwd: Option<PathBuf>,
    /// The port on which it listens, on 127.0.0.1: a number, or `auto` for a free one. Default `auto`.
    pub port: Port,
    /// The path that is asked with GET until it answers with 2xx. Default `/health`.
    pub health: String,
    /// The time from its start until it must be healthy; more than 0. Default `5m`.
    pub start_timeout: HumanDuration,
    /// The time from the request to end (SIGTERM) until it is killed with all its children (SIGKILL); at most 5 min. Default
    /// `10s`.
    pub stop_grace: HumanDuration,
    /// The device on which it takes room: a name in `[[servers.devices]]`. Default `default`.
    pub device: String,
    /// The memory that it takes there. Default `0B`.
    pub memory: ByteCount,
    /// The slots that it takes there. Default 1.
    pub slots: u32,
    /// `true` to start it with the service and to keep it without calls. It makes room for a call that has waited for the
    /// longest wait, and comes back. Default `false`.
    pub keep_warm: bool,
    /// The time without a call after which it is stopped; `0s` to keep it until its room is needed. Default `10m`.
    pub idle_timeout: HumanDuration,
    /// The least time for which it stays loaded before it makes room for another one. Default `5s`.
    pub min_loaded: HumanDuration,
    /// The longest time that its calls wait while another one that has calls is loaded. Default `30s`.
    pub wait_max: HumanDuration,
}

/// When a server stays loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaySettings {
    /// `true` to start it without a call and to keep it without calls.
    pub keep_warm: bool,
    /// The time without a call after which it is stopped; `None` to keep it.
    pub idle_timeout: Option<Duration>,
    /// The least time for which it is loaded.
    pub min_loaded: Duration,
    /// The longest wait of its calls.
    pub wait_max: Duration,
}

impl Default for ProcessSettings {
    fn default() -> Self {
        Self {
            command: String::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            pass_env: PASS_ENV.map(str::to_owned).to_vec(),
            cwd: None,
            port: Port::Auto,
            health: "/health".to_owned(),
            start_timeout: HumanDuration::from_secs(300),
            stop_grace: HumanDuration::from_secs(10),
            device: DEVICE.to_owned(),
            memory: ByteCount(0),
            slots: 1,
            keep_warm: false,
            idle_timeout: HumanDuration::from_secs(600),
            min_loaded: HumanDuration::from_secs(5),
            wait_max: HumanDuration::from_secs(30),
        }
    }
}

impl ProcessSettings {
    /// Returns the room that it takes.
    pub fn room(&self) -> Room {
        Room {
            memory: self.memory.get(),
            slots: self.slots,
        }
    }

    /// Returns when it stays loaded.
    pub fn stay(&self) -> StaySettings {
        let idle_timeout = self.idle_timeout.get();
        StaySettings {
            keep_warm: self.keep_warm,
            idle_timeout: (!idle_timeout.is_zero()).then_some(idle_timeout),
            min_loaded: self.min_loaded.get(),
            wait_max: self.wait_max.get(),
        }
    }

    /// Returns `true` if it can learn its port.
    fn mentions_port(&self) -> bool {
        let mut texts = self.args.iter().chain(self.env.values());
        texts.any(|text| text.contains(PORT_PLACEHOLDER))
    }
}

impl Validate for ProcessSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut refuse = |key: &str, message: &str| {
            errors.push(SettingsError::new(join(path, key), message));
        };
        if self.command.is_empty() {
            refuse("command", "must name a program");
        } else if !self.command.contains('/') && self.command.contains(' ') {
            refuse(
                "command",
                "must be the program alone; its arguments belong to `args`",
            );
        }
        if self.port == Port::Auto && !self.mentions_port() {
            let message = "the program must be given the port: write `{port}` in one of them";
            refuse("args", message);
        }
        for name in self.env.keys().chain(&self.pass_env) {
            if name.is_empty() || name.contains(['=', '\0']) {
                refuse("env", "must have names of variables");
            }
        }
        let nul = |text: &String| text.contains('\0');
        if self.args.iter().chain(self.env.values()).any(nul) || nul(&self.command) {
            refuse("args", "must not contain a NUL");
        }
        if !self.health.starts_with('/') {
            refuse("health", "must be a path that begins with `/`");
        }
        if self.stop_grace.get() > STOP_GRACE_MAX {
            refuse("stop_grace", "must be at most 5m");
        }
        if self.start_timeout.get().is_zero() {
            refuse("start_timeout", "must be more than 0");
        }
        errors
    }
}

/// One device with a budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceSettings {
    /// The name; each name once. Default `default`, the device of processes that name none.
    pub name: String,
    /// The memory for all processes on it together. Default: no bound.
    pub memory: Option<ByteCount>,
    /// The slots for all processes on it together, at least 1. Default: no bound.
    pub slots: Option<u32>,
}

impl Default for DeviceSettings {
    fn default() -> Self {
        Self {
            name: DEVICE.to_owned(),
            memory: None,
            slots: None,
        }
    }
}

impl DeviceSettings {
    /// Returns the budget.
    pub fn room(&self) -> Room {
        Room {
            memory: self.memory.map_or(u64::MAX, ByteCount::get),
            slots: self.slots.unwrap_or(u32::MAX),
        }
    }
}

impl Validate for DeviceSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        if self.name.is_empty() {
            errors.push(SettingsError::new(join(path, "name"), "must not be empty"));
        }
        if self.slots == Some(0) {
            errors.push(SettingsError::new(
                join(path, "slots"),
                "must be at least 1",
            ));
        }
        errors
    }
}

/// What the processes share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServersSettings {
    /// The devices and their budgets. Default none: as many processes run at once as are called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceSettings>,
}

impl ServersSettings {
    /// Returns the budgets by device.
    pub fn rooms(&self) -> BTreeMap<String, Room> {
        let devices = self.devices.iter();
        devices.map(|one| (one.name.clone(), one.room())).collect()
    }

    /// Returns what is wrong with the room of a process, with the key.
    pub fn misfit(&self, process: &ProcessSettings) -> Option<(&'static str, String)> {
        let mut devices = self.devices.iter();
        let Some(device) = devices.find(|one| one.name == process.device) else {
            let is_known = process.device == DEVICE;
            let message = format!("there is no device named `{}`", process.device);
            return (!is_known).then_some(("device", message));
        };
        let (need, room) = (process.room(), device.room());
        if need.memory > room.memory {
            let message = format!("is more than the device `{}` has", device.name);
            return Some(("memory", message));
        }
        (need.slots > room.slots).then(|| {
            let message = format!("are more than the device `{}` has", device.name);
            ("slots", message)
        })
    }
}

impl Validate for ServersSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = validate_each(&self.devices, &join(path, "devices"));
        for (index, device) in self.devices.iter().enumerate() {
            let mut earlier = self.devices.iter().take(index);
            if earlier.any(|other| other.name == device.name) {
                let at = join(path, &format!("devices[{index}].name"));
                let message = format!("`{}` is used more than once", device.name);
                errors.push(SettingsError::new(at, message));
            }
        }
        errors
    }
}
