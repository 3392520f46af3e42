//! What tells signalling that the data plane has said something: a pipe that holds one byte, however much was said before it is
//! heard. A pipe because signalling's runtime waits for descriptors; a byte for each thing that is said would be a system call
//! each.

use std::{
    io::{self, PipeReader, PipeWriter, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::net::unix::pipe;

/// For who says something.
pub(crate) struct Ringer {
    pipe: PipeWriter,
    rung: Arc<AtomicBool>,
}

/// For who listens, in time: only he needs a runtime.
pub(crate) struct Bell {
    pipe: PipeReader,
    rung: Arc<AtomicBool>,
}

/// Who listens.
pub(crate) struct Hearer {
    pipe: pipe::Receiver,
    /// It has been rung and not been heard yet.
    rung: Arc<AtomicBool>,
}

/// A bell and who rings it.
pub(crate) fn bell() -> io::Result<(Ringer, Bell)> {
    let (bell, ringer) = io::pipe()?;
    let rung = Arc::new(AtomicBool::new(false));
    let ringer = Ringer {
        pipe: ringer,
        rung: Arc::clone(&rung),
    };
    Ok((ringer, Bell { pipe: bell, rung }))
}

impl Ringer {
    /// To be called behind what it announces.
    pub(crate) fn ring(&self) -> io::Result<()> {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // There is room: the last byte has been taken.
            (&self.pipe).write_all(&[1])?;
        }
        Ok(())
    }
}

impl Bell {
    /// Needs a runtime.
    pub(crate) fn listen(&self) -> io::Result<Hearer> {
        Ok(Hearer {
            pipe: pipe::Receiver::from_owned_fd(self.pipe.try_clone()?.into())?,
            rung: Arc::clone(&self.rung),
        })
    }
}

impl Hearer {
    /// Waits until it rings. What was announced until then is there, and who rings from now on is heard the next time.
    pub(crate) async fn hear(&self) -> io::Result<()> {
        loop {
            self.pipe.readable().await?;
            match self.pipe.try_read(&mut [0]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => break,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        self.rung.swap(false, Ordering::AcqRel);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_holds_one_byte_until_it_is_heard_and_is_heard_each_time() {
        tokio_uring::start(async {
            let (ringer, bell) = bell().unwrap();
            // More than a pipe takes.
            (0..100_000).for_each(|_| ringer.ring().unwrap());
            let hearer = bell.listen().unwrap();
            let within = |ms| {
                let heard = hearer.hear();
                async move { tokio::time::timeout(Duration::from_millis(ms), heard).await }
            };
            for _ in 0..3 {
                within(10_000).await.expect("it has been rung").unwrap();
                assert!(within(20).await.is_err(), "nobody rang");
                (0..3).for_each(|_| ringer.ring().unwrap());
            }
            drop(ringer);
            within(10_000).await.expect("it had been rung").unwrap();
            let heard = within(10_000).await.expect("it has an end");
            assert!(heard.is_err(), "nobody can ring any more");
        });
    }
}
