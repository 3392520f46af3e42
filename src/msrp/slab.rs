//! A table of things that come and go on the path of a chunk: places are used again, with the memory that their lists own.
//!
//! Nothing is allocated once the table has its size. It grows by pages that stay where they are: a table that doubled in place
//! would copy megabytes in one turn, as soon as one device of a busy session stops answering. A [`Handle`] is a place and its
//! generation, so a stale one finds nothing.

/// No place.
pub(super) const NIL: u32 = u32::MAX;

/// What can lie in a [`Slab`]: made new without giving its memory back.
pub(super) trait Reset: Default {
    /// As if new, but with the capacity of its lists.
    fn reset(&mut self);
}

/// A place in a [`Slab`] and its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) place: u32,
    generation: u32,
}

impl Handle {
    /// The handle of nothing.
    pub(super) const NONE: Self = Self {
        place: NIL,
        generation: 0,
    };
}

/// Places that a table grows by: tens of kilobytes of the largest things that lie in one.
const PAGE: usize = 64;

type Page<T> = Box<[Slot<T>; PAGE]>;

#[derive(Debug)]
struct Slot<T> {
    value: T,
    generation: u32,
    next: u32,
    live: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Slab<T> {
    pages: Vec<Page<T>>,
    free: u32,
    len: usize,
}

impl<T: Reset> Slab<T> {
    pub(super) fn new() -> Self {
        Self {
            pages: Vec::new(),
            free: NIL,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes a free place; its value is as after [`Reset::reset`].
    ///
    /// # Panics
    /// With 2^29 places taken: every table that feeds this one is bounded far below.
    pub(super) fn take(&mut self) -> Handle {
        self.take_mut().0
    }

    /// As [`Slab::take`], with what lies there.
    pub(super) fn take_mut(&mut self) -> (Handle, &mut T) {
        if self.free == NIL {
            self.grow();
        }
        self.len += 1;
        let place = self.free;
        let slot = &mut self.pages[place as usize / PAGE][place as usize % PAGE];
        self.free = slot.next;
        slot.live = true;
        let handle = Handle {
            place,
            generation: slot.generation,
        };
        (handle, &mut slot.value)
    }

    /// A further page of free places.
    #[cold]
    fn grow(&mut self) {
        let taken = self.pages.len() * PAGE;
        let place = |at: usize| u32::try_from(taken + at).unwrap_or(NIL);
        assert!(
            place(PAGE) < super::tid::NO_PLACE,
            "fewer than 2^29 places a shard"
        );
        let slots: Vec<Slot<T>> = (1..=PAGE)
            .map(|behind| Slot {
                value: T::default(),
                generation: 0,
                next: if behind == PAGE { NIL } else { place(behind) },
                live: false,
            })
            .collect();
        if let Ok(page) = slots.try_into() {
            self.pages.push(page);
            self.free = place(0);
        }
    }

    fn slot(&self, place: u32) -> Option<&Slot<T>> {
        let page = self.pages.get(place as usize / PAGE)?;
        Some(&page[place as usize % PAGE])
    }

    fn slot_mut(&mut self, place: u32) -> Option<&mut Slot<T>> {
        let page = self.pages.get_mut(place as usize / PAGE)?;
        Some(&mut page[place as usize % PAGE])
    }

    /// Gives a place back. A stale handle gives nothing back.
    pub(super) fn release(&mut self, handle: Handle) {
        let free = self.free;
        let Some(slot) = self
            .slot_mut(handle.place)
            .filter(|slot| slot.live && slot.generation == handle.generation)
        else {
            return;
        };
        slot.value.reset();
        slot.generation = slot.generation.wrapping_add(1);
        slot.live = false;
        slot.next = free;
        self.free = handle.place;
        self.len -= 1;
    }

    pub(super) fn get(&self, handle: Handle) -> Option<&T> {
        let slot = self.slot(handle.place)?;
        (slot.live && slot.generation == handle.generation).then_some(&slot.value)
    }

    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let slot = self.slot_mut(handle.place)?;
        (slot.live && slot.generation == handle.generation).then_some(&mut slot.value)
    }

    /// The handle of what lies at `place` now.
    pub(super) fn at(&self, place: u32) -> Option<Handle> {
        Some(self.find(place)?.0)
    }

    /// What lies at `place` now, and its handle.
    pub(super) fn find(&self, place: u32) -> Option<(Handle, &T)> {
        let slot = self.slot(place)?;
        let handle = Handle {
            place,
            generation: slot.generation,
        };
        slot.live.then_some((handle, &slot.value))
    }

    /// What lies at a place that a list names: it is live, or there is none.
    fn listed_mut(&mut self, place: u32) -> Option<&mut T> {
        self.slot_mut(place).map(|s| &mut s.value)
    }
}

/// Where a thing stands in a [`List`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    prev: u32,
    next: u32,
    on: bool,
}

impl Default for Hook {
    fn default() -> Self {
        Self {
            prev: NIL,
            next: NIL,
            on: false,
        }
    }
}

impl Hook {
    /// Whether the thing stands in the list.
    pub(super) fn is_on(&self) -> bool {
        self.on
    }
}

/// A list through the hooks of things in one [`Slab`], in the order in which they were put at its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl Default for List {
    fn default() -> Self {
        Self {
            head: NIL,
            tail: NIL,
            len: 0,
        }
    }
}

/// Picks the hook of one of the lists that a thing can stand in.
type Pick<T> = fn(&mut T) -> &mut Hook;

impl List {
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn first<T: Reset>(&self, slab: &Slab<T>) -> Option<Handle> {
        slab.at(self.head)
    }

    /// As [`List::first`], with what it is.
    pub(super) fn first_of<'a, T: Reset>(&self, slab: &'a Slab<T>) -> Option<(Handle, &'a T)> {
        slab.find(self.head)
    }

    /// What stands behind `handle`.
    pub(super) fn after<T: Reset>(
        slab: &mut Slab<T>,
        handle: Handle,
        pick: Pick<T>,
    ) -> Option<Handle> {
        let next = pick(slab.get_mut(handle)?).next;
        slab.at(next)
    }

    /// What stands before `handle`.
    pub(super) fn before<T: Reset>(
        slab: &mut Slab<T>,
        handle: Handle,
        pick: Pick<T>,
    ) -> Option<Handle> {
        let prev = pick(slab.get_mut(handle)?).prev;
        slab.at(prev)
    }

    pub(super) fn last<T: Reset>(&self, slab: &Slab<T>) -> Option<Handle> {
        slab.at(self.tail)
    }

    /// Puts a thing at the end; it must not stand in the list.
    pub(super) fn push<T: Reset>(&mut self, slab: &mut Slab<T>, handle: Handle, pick: Pick<T>) {
        let tail = self.tail;
        let Some(thing) = slab.get_mut(handle) else {
            return;
        };
        let hook = pick(thing);
        debug_assert!(!hook.on, "a thing stands in a list once");
        *hook = Hook {
            prev: tail,
            next: NIL,
            on: true,
        };
        if let Some(before) = slab.listed_mut(tail) {
            pick(before).next = handle.place;
        } else {
            self.head = handle.place;
        }
        self.tail = handle.place;
        self.len += 1;
    }

    /// Takes a thing out, if it stands in the list.
    pub(super) fn remove<T: Reset>(&mut self, slab: &mut Slab<T>, handle: Handle, pick: Pick<T>) {
        let Some(thing) = slab.get_mut(handle) else {
            return;
        };
        let hook = pick(thing);
        if !hook.on {
            return;
        }
        let Hook { prev, next, .. } = std::mem::take(hook);
        match slab.listed_mut(prev) {
            Some(before) => pick(before).next = next,
            None => self.head = next,
        }
        match slab.listed_mut(next) {
            Some(behind) => pick(behind).prev = prev,
            None => self.tail = prev,
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Thing {
        n: u32,
        hook: Hook,
    }

    impl Reset for Thing {
        fn reset(&mut self) {
            *self = Self::default();
        }
    }

    fn hook(t: &mut Thing) -> &mut Hook {
        &mut t.hook
    }

    #[test]
    fn a_stale_handle_finds_nothing() {
        let mut slab: Slab<Thing> = Slab::new();
        let a = slab.take();
        slab.release(a);
        let b = slab.take();
        assert_eq!(a.place, b.place, "the place is used again");
        assert!(slab.get(a).is_none());
        slab.release(a);
        assert!(slab.get(b).is_some(), "a stale release releases nothing");
        assert_eq!(slab.len(), 1);
        assert!(slab.get(Handle::NONE).is_none());
    }

    #[test]
    fn what_lies_in_it_stays_where_it_is_while_it_grows() {
        let mut slab: Slab<Thing> = Slab::new();
        let first = slab.take();
        let at = std::ptr::from_ref(slab.get(first).unwrap());
        let handles: Vec<Handle> = (1..1000).map(|_| slab.take()).collect();
        assert_eq!(at, std::ptr::from_ref(slab.get(first).unwrap()));
        let places: Vec<u32> = handles.iter().map(|h| h.place).collect();
        assert_eq!(places, (1..1000).collect::<Vec<_>>(), "each once, in order");
        assert!(slab.at(1000).is_none() && slab.at(10_000).is_none());
        assert_eq!((slab.len(), slab.pages.len()), (1000, 16));
        for handle in handles {
            slab.release(handle);
        }
        slab.take();
        assert_eq!(
            (slab.len(), slab.pages.len()),
            (2, 16),
            "places are used again"
        );
    }

    #[test]
    fn a_list_keeps_its_order_through_removals() {
        let mut slab: Slab<Thing> = Slab::new();
        let mut list = List::default();
        let handles: Vec<Handle> = (0..6)
            .map(|n| {
                let h = slab.take();
                slab.get_mut(h).unwrap().n = n;
                list.push(&mut slab, h, hook);
                h
            })
            .collect();
        for gone in [0, 3, 5] {
            list.remove(&mut slab, handles[gone], hook);
            list.remove(&mut slab, handles[gone], hook);
        }
        let mut seen = Vec::new();
        let mut at = list.first(&slab);
        while let Some(h) = at {
            seen.push(slab.get(h).unwrap().n);
            at = List::after(&mut slab, h, hook);
        }
        assert_eq!(seen, [1, 2, 4]);
        assert_eq!(list.len(), 3);
        assert_eq!(list.last(&slab), Some(handles[4]));
        assert_eq!(List::before(&mut slab, handles[4], hook), Some(handles[2]));
    }
}
