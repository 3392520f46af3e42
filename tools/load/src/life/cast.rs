//! Many calls at once: set up, settled, ended, some at a time.

use std::{future::Future, rc::Rc, time::Duration};

use super::{act::Act, course::Course, scene::Scene, script::Line};
use crate::{clock::Nanos, post::Departure, trouble::Trouble, ua::in_turn};

/// Sets up calls `first..first + users`, of users 0 and up, and returns them.
pub(crate) async fn set_up(
    scene: &Rc<Scene>,
    first: u32,
    users: u32,
) -> Result<Vec<Course>, Trouble> {
    let courses: Vec<Course> = (0..users)
        .map(|user| Course::new(scene, first + user, user))
        .collect();
    each(&courses, |course| async move {
        let now = Departure::at(course.now());
        course.set_up(&now).await.map(|_| ())
    })
    .await?;
    let census = scene.census.borrow();
    if census.failed_attempts() + census.legs_missing > 0 {
        return Err(Trouble::unreachable(format!(
            "sessions could not be set up:\n{}",
            census.findings()
        )));
    }
    drop(census);
    Ok(courses)
}

/// Asks for the deeds of a script that begins at `start`; its session 0 is call `first`.
pub(crate) fn perform(
    scene: &Scene,
    script: &[Line],
    start: Nanos,
    first: u32,
) -> Result<(), Trouble> {
    for line in script {
        scene.act(Act {
            at: start + line.after,
            session: first + line.session,
            deed: line.deed,
        })?;
    }
    Ok(())
}

/// Waits until all that these calls were asked for has come, for `patience` at most.
pub(crate) async fn be_quiet(courses: &[Course], patience: Duration) -> Result<(), Trouble> {
    all(
        courses,
        |course| async move { course.be_quiet(patience).await },
    )
    .await
}

/// Hangs up these calls.
pub(crate) async fn hang_up(courses: &[Course]) -> Result<(), Trouble> {
    each(courses, |course| async move { course.hang_up().await }).await
}

/// Does something with each call, some at a time.
async fn each<F, W>(courses: &[Course], work: F) -> Result<(), Trouble>
where
    F: Fn(Course) -> W,
    W: Future<Output = Result<(), Trouble>> + 'static,
{
    let n = u32::try_from(courses.len()).unwrap_or(u32::MAX);
    in_turn(n, |i| work(courses[i as usize].clone())).await
}

/// Does something with all calls at once.
pub(crate) async fn all<F, W>(courses: &[Course], work: F) -> Result<(), Trouble>
where
    F: Fn(Course) -> W,
    W: Future<Output = Result<(), Trouble>> + 'static,
{
    let tasks: Vec<_> = courses
        .iter()
        .map(|course| tokio_uring::spawn(work(course.clone())))
        .collect();
    for task in tasks {
        joined(task).await?;
    }
    Ok(())
}

/// What a task came to.
pub(crate) async fn joined<T>(
    task: impl Future<Output = Result<Result<T, Trouble>, impl std::fmt::Display>>,
) -> Result<T, Trouble> {
    match task.await {
        Ok(done) => done,
        Err(e) => Err(Trouble::failed(format!("a task: {e}"))),
    }
}
