//! `ProtocolVersion`, the 12 bytes that open every connection (RFC 6143, 7.1.1).

use std::fmt;

/// The length of a `ProtocolVersion` message in bytes.
pub const BANNER_LEN: usize = 12;

/// A version of the protocol as far as its handshake differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The server decides the security type (RFC 6143, appendix A).
    V3_3,
    /// The client chooses the security type; no result follows the type None.
    V3_7,
    /// The client chooses; a result with a reason always follows.
    V3_8,
}

/// Why 12 bytes are no `ProtocolVersion` that can be talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Not of the form `RFB ddd.ddd\n`: another service listens there.
    #[error("the peer does not speak RFB")]
    NotRfb,
    /// Older than 3.3, or a repeater's 0.0.
    #[error("RFB version {major}.{minor} is not supported")]
    Unsupported {
        /// The number before the point.
        major: u16,
        /// The number after it.
        minor: u16,
    },
}

impl Version {
    /// The message that announces this version.
    pub const fn banner(self) -> &'static [u8; BANNER_LEN] {
        match self {
            Self::V3_3 => b"RFB 003.003\n",
            Self::V3_7 => b"RFB 003.007\n",
            Self::V3_8 => b"RFB 003.008\n",
        }
    }

    /// The version whose handshake a peer with this banner speaks.
    ///
    /// Numbers that no published version has are in use: those between 3.3 and 3.7 mean the
    /// handshake of 3.3 (RFC 6143, 7.1.1), and 3.889 (Apple), 4.x and 5.x (RealVNC) that of 3.8.
    pub fn parse(banner: &[u8; BANNER_LEN]) -> Result<Self, VersionError> {
        let [
            b'R',
            b'F',
            b'B',
            b' ',
            major @ ..,
            b'.',
            minor_hundreds,
            minor_tens,
            minor_ones,
            b'\n',
        ] = banner
        else {
            return Err(VersionError::NotRfb);
        };
        let major = number(major)?;
        let minor = number(&[*minor_hundreds, *minor_tens, *minor_ones])?;
        match (major, minor) {
            (0..=2, _) | (3, 0..=2) => Err(VersionError::Unsupported { major, minor }),
            (3, 3..=6) => Ok(Self::V3_3),
            (3, 7) => Ok(Self::V3_7),
            (3.., _) => Ok(Self::V3_8),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V3_3 => "3.3",
            Self::V3_7 => "3.7",
            Self::V3_8 => "3.8",
        })
    }
}

fn number(digits: &[u8; 3]) -> Result<u16, VersionError> {
    digits.iter().try_fold(0, |number, digit| {
        if digit.is_ascii_digit() {
            Ok(number * 10 + u16::from(digit - b'0'))
        } else {
            Err(VersionError::NotRfb)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_numbers_mean_the_handshake_their_software_speaks() {
        for (banner, version) in [
            (b"RFB 003.003\n", Ok(Version::V3_3)),
            (b"RFB 003.005\n", Ok(Version::V3_3)),
            (b"RFB 003.007\n", Ok(Version::V3_7)),
            (b"RFB 003.008\n", Ok(Version::V3_8)),
            (b"RFB 003.889\n", Ok(Version::V3_8)),
            (b"RFB 004.001\n", Ok(Version::V3_8)),
            (b"RFB 005.000\n", Ok(Version::V3_8)),
            (
                b"RFB 000.000\n",
                Err(VersionError::Unsupported { major: 0, minor: 0 }),
            ),
            (
                b"RFB 003.002\n",
                Err(VersionError::Unsupported { major: 3, minor: 2 }),
            ),
            (b"RFB 003.00x\n", Err(VersionError::NotRfb)),
            (b"RFB 003.008 ", Err(VersionError::NotRfb)),
            (b"SSH-2.0-Open", Err(VersionError::NotRfb)),
        ] {
            assert_eq!(Version::parse(banner), version, "{banner:?}");
        }
    }

    #[test]
    fn every_version_reads_its_own_banner() {
        for version in [Version::V3_3, Version::V3_7, Version::V3_8] {
            assert_eq!(Version::parse(version.banner()), Ok(version));
        }
    }
}
