//! A connection whose other side must take what it is sent at a least pace: who reads at a trickle would hold memory, a thread and a repository's lock for days.
//!
//! It lies beneath TLS, so that all that is written counts: answers, questions, keys. Time counts only while the other side keeps us waiting, so a connection
//! may be idle as long as it likes here; how long it may be so is for those who use it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// In this time as many bytes must be taken as `least` says.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub within: Duration,
    pub least: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { within: Duration::from_secs(60), least: 60 << 10 }
    }
}

pub struct Paced<S> {
    inner: S,
    pace: Pace,
    /// While we wait: until when, and what was taken since.
    waiting: Option<Pin<Box<Sleep>>>,
    taken: u64,
}

impl<S> Paced<S> {
    pub fn new(inner: S, pace: Pace) -> Paced<S> {
        Paced { inner, pace, waiting: None, taken: 0 }
    }

    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The other side takes nothing now. Whether it took too little for too long.
    fn is_too_slow(&mut self, context: &mut Context<'_>) -> bool {
        let (within, least) = (self.pace.within, self.pace.least);
        let taken = &mut self.taken;
        let waiting = self.waiting.get_or_insert_with(|| {
            *taken = 0;
            Box::pin(sleep(within))
        });
        while waiting.as_mut().poll(context).is_ready() {
            if *taken < least {
                return true;
            }
            *taken = 0;
            waiting.as_mut().reset(Instant::now() + within);
        }
        false
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write(context, bytes) {
            Poll::Ready(Ok(count)) => {
                self.taken += count as u64;
                Poll::Ready(Ok(count))
            }
            Poll::Pending if self.is_too_slow(context) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too little"))),
            other => other,
        }
    }

    /// All was handed over: nobody is waited for.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(context))?;
        self.waiting = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const PACE: Pace = Pace { within: Duration::from_millis(200), least: 1000 };

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn who_reads_at_a_trickle_is_given_up_and_who_reads_fast_is_not() {
        run(async {
            let (ours, mut theirs) = duplex(4096);
            let mut paced = Paced::new(ours, PACE);
            let reader = tokio::spawn(async move {
                let (mut bytes, mut all) = (vec![0; 4096], 0);
                while all < 1 << 20 {
                    all += theirs.read(&mut bytes).await.unwrap();
                }
                // From here on a byte a time, and then none.
                while let Ok(1) = theirs.read(&mut bytes[..1]).await {
                    tokio::time::timeout(Duration::from_millis(5), std::future::pending::<()>()).await.unwrap_err();
                }
            });
            paced.write_all(&vec![1; 1 << 20]).await.expect("a fast one takes all");
            paced.flush().await.unwrap();
            let slow = paced.write_all(&vec![1; 1 << 20]).await.unwrap_err();
            assert_eq!(slow.kind(), io::ErrorKind::TimedOut);
            drop(paced);
            reader.abort();
        });
    }
}
