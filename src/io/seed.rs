//! Chance: the system is asked once, at start; everything else is drawn from that seed.

use rand::{TryRng, rngs::SysRng};

/// 32 bytes from the system's generator.
///
/// # Errors
/// The system has no randomness to give (a container without `getrandom`): the engine must not start.
pub fn from_system() -> Result<[u8; 32], std::io::Error> {
    let mut seed = [0; 32];
    SysRng
        .try_fill_bytes(&mut seed)
        .map_err(|e| std::io::Error::other(e.to_string()))?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_seeds_differ() {
        let a = super::from_system().unwrap();
        let b = super::from_system().unwrap();
        assert_ne!(a, b);
        assert_ne!(a, [0; 32]);
    }
}
