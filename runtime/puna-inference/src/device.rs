use std::{fmt, str::FromStr};

use puna_core::Error;
use serde::Serialize;

use crate::provision::Build;

/// What a model is computed on: `cpu`, `cuda` or `cuda:1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "String")]
#[non_exhaustive]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU, by its number. Takes the cargo feature `cuda`.
    Cuda {
        /// Its number, as CUDA counts.
        index: u32,
    },
}

impl Device {
    /// The build of ONNX Runtime that runs on it.
    pub fn build(self) -> Build {
        match self {
            Self::Cpu => Build::Cpu,
            Self::Cuda { .. } => Build::Cuda,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda { index } => write!(formatter, "cuda:{index}"),
        }
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda { index: 0 }),
            Some(("cuda", index)) => index.parse().map(|index| Self::Cuda { index }).map_err(|_| text),
            _ => Err(text),
        }
        .map_err(|text| {
            Error::invalid_input(format!(
                "`{text}` is no device; write `cpu`, `cuda`, or `cuda:1` for the second GPU"
            ))
        })
    }
}
