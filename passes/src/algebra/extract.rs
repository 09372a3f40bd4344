//! Choosing one term of each class, so that all results together cost least.
//!
//! What several results share is counted once. (`egg`'s own extractor adds up trees: on a chain of
//! residual blocks its costs double with every block, until they are lost in rounding.)

use super::cost::CostModel;
use super::term::{EGraph, Head, Term};
use egg::Id;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a choice of terms costs: picoseconds, then how many terms are new.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Cost {
    pub ps: u64,
    pub n_new: u32,
}

impl Cost {
    fn plus(self, other: Self) -> Self {
        Self {
            ps: self.ps.saturating_add(other.ps),
            n_new: self.n_new + other.n_new,
        }
    }
}

/// How many widely read classes are tried as the basis of a choice.
const MOST_BASES: usize = 32;

/// How often all single changes are tried.
const MOST_ROUNDS: usize = 8;

struct Candidate {
    term: Term,
    /// The classes that are computed at run time among the operands, each once.
    operands: Vec<usize>,
    cost: Cost,
}

/// The classes that are computed at run time, numbered in the e-graph's order, with their terms.
pub(super) struct Choices {
    ids: Vec<Id>,
    numbers: BTreeMap<Id, usize>,
    candidates: Vec<Vec<Candidate>>,
    readers: Vec<Vec<usize>>,
    roots: Vec<usize>,
}

/// A term for each class that the roots need, operands first.
pub(super) struct Chosen {
    pub terms: Vec<(Id, Term)>,
    pub cost: Cost,
}

type Selection = Vec<Option<usize>>;

impl Choices {
    /// The choices for `roots`. Terms in `old` are not new.
    pub(super) fn new(
        egraph: &EGraph,
        model: &CostModel,
        roots: &[Id],
        old: &BTreeSet<Term>,
    ) -> Self {
        let at_run_time = |id: Id| {
            let data = &egraph[id].data;
            data.constant.is_none() && !data.types.is_empty()
        };
        let mut ids: Vec<Id> = egraph
            .classes()
            .map(|c| c.id)
            .filter(|&c| at_run_time(c))
            .collect();
        ids.sort();
        let numbers: BTreeMap<Id, usize> = ids.iter().enumerate().map(|(i, &id)| (id, i)).collect();
        let mut readers = vec![vec![]; ids.len()];
        let mut candidates = vec![];
        for (number, &id) in ids.iter().enumerate() {
            let mut terms: Vec<Term> = egraph[id]
                .nodes
                .iter()
                .map(|t| canonical(egraph, t))
                .filter(|t| !t.operands.contains(&id))
                .collect();
            terms.sort_by_key(|t| (!old.contains(t), t.clone()));
            let of_class: Vec<Candidate> = terms
                .into_iter()
                .map(|term| {
                    let mut operands: Vec<usize> = term
                        .operands
                        .iter()
                        .filter_map(|c| numbers.get(c).copied())
                        .collect();
                    operands.sort_unstable();
                    operands.dedup();
                    let n_new = u32::from(!old.contains(&term));
                    let cost = Cost {
                        ps: model.term(egraph, id, &term),
                        n_new,
                    };
                    Candidate {
                        term,
                        operands,
                        cost,
                    }
                })
                .collect();
            for candidate in &of_class {
                for &operand in &candidate.operands {
                    if readers[operand].last() != Some(&number) {
                        readers[operand].push(number);
                    }
                }
            }
            candidates.push(of_class);
        }
        let roots = roots
            .iter()
            .filter_map(|&r| numbers.get(&egraph.find(r)).copied())
            .collect();
        Self {
            ids,
            numbers,
            candidates,
            readers,
            roots,
        }
    }

    /// The cheapest choice that is found, beginning from the terms of `start` and from a greedy
    /// choice; `None` if neither is free of cycles.
    pub(super) fn best(&self, start: &BTreeMap<Id, Term>) -> Option<Chosen> {
        let greedy = self.greedy(None);
        let given = self.given(greedy.clone(), start);
        let mut best: Option<(Cost, Selection)> = None;
        let mut offer = |selection: Selection| {
            if let Some((cost, selection)) = self.descend(selection)
                && best.as_ref().is_none_or(|(b, _)| cost < *b)
            {
                best = Some((cost, selection));
                return true;
            }
            false
        };
        offer(given);
        offer(greedy);
        // A class that many could read is dear for the first and free for the rest: no change of a
        // single term finds it.
        let mut bases: Vec<usize> = (0..self.ids.len())
            .filter(|&c| self.is_new(c) && self.readers[c].len() > 1)
            .collect();
        bases.truncate(MOST_BASES);
        for basis in bases {
            offer(self.greedy(Some(basis)));
        }
        self.chosen(&best?.1)
    }

    fn chosen(&self, selection: &Selection) -> Option<Chosen> {
        let (cost, reached) = self.evaluate(selection)?;
        let term = |&c: &usize| Some((self.ids[c], self.candidates[c][selection[c]?].term.clone()));
        Some(Chosen {
            terms: reached.iter().filter_map(term).collect(),
            cost,
        })
    }

    /// One choice for each term that the roots can be made to need, and that is not joined: `start`
    /// with that term.
    pub(super) fn all(&self, start: &BTreeMap<Id, Term>) -> Vec<Chosen> {
        let given = self.given(self.greedy(None), start);
        let mut all = vec![];
        for class in 0..self.ids.len() {
            for (i, candidate) in self.candidates[class].iter().enumerate() {
                if matches!(candidate.term.head, Head::Joined(_)) {
                    continue;
                }
                let mut selection = given.clone();
                selection[class] = Some(i);
                let chosen = self.chosen(&selection).or_else(|| {
                    let mut selection = self.greedy(None);
                    selection[class] = Some(i);
                    self.chosen(&selection)
                });
                all.extend(chosen.filter(|c| c.terms.iter().any(|(id, _)| *id == self.ids[class])));
            }
        }
        all
    }

    fn given(&self, mut selection: Selection, start: &BTreeMap<Id, Term>) -> Selection {
        for (id, term) in start {
            if let Some(&class) = self.numbers.get(id)
                && let Some(i) = self.candidates[class].iter().position(|c| c.term == *term)
            {
                selection[class] = Some(i);
            }
        }
        selection
    }

    fn is_new(&self, class: usize) -> bool {
        self.candidates[class].iter().all(|c| c.cost.n_new > 0)
    }

    /// Bottom up, the cheapest term of each class by the set of classes that it needs, each counted
    /// once; `free` costs nothing.
    fn greedy(&self, free: Option<usize>) -> Selection {
        let n = self.ids.len();
        let mut choice: Selection = vec![None; n];
        let mut sets: Vec<Option<(Cost, BTreeMap<usize, Cost>)>> = vec![None; n];
        let mut waiting: VecDeque<usize> = (0..n).collect();
        let mut is_waiting = vec![true; n];
        while let Some(class) = waiting.pop_front() {
            is_waiting[class] = false;
            let mut improved = false;
            for (i, candidate) in self.candidates[class].iter().enumerate() {
                let Some(needs) = needs(&sets, candidate, class) else {
                    continue;
                };
                let own = if free == Some(class) {
                    Cost::default()
                } else {
                    candidate.cost
                };
                let total = needs.values().fold(own, |sum, &c| sum.plus(c));
                if sets[class].as_ref().is_none_or(|(best, _)| total < *best) {
                    let mut needs = needs;
                    needs.insert(class, own);
                    let total_and_set = if free == Some(class) {
                        (Cost::default(), BTreeMap::from([(class, Cost::default())]))
                    } else {
                        (total, needs)
                    };
                    improved |= sets[class]
                        .as_ref()
                        .is_none_or(|(t, _)| total_and_set.0 < *t);
                    sets[class] = Some(total_and_set);
                    choice[class] = Some(i);
                }
            }
            if improved {
                for &reader in &self.readers[class] {
                    if !is_waiting[reader] {
                        is_waiting[reader] = true;
                        waiting.push_back(reader);
                    }
                }
            }
        }
        choice
    }

    /// What `selection` costs, and the classes that the roots need, operands first; `None` if they
    /// need each other in a circle.
    fn evaluate(&self, selection: &Selection) -> Option<(Cost, Vec<usize>)> {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            Unseen,
            Open,
            Done,
        }
        let mut state = vec![State::Unseen; self.ids.len()];
        let mut cost = Cost::default();
        let mut reached = vec![];
        let mut stack: Vec<(usize, usize)> = vec![];
        for &root in &self.roots {
            if state[root] == State::Done {
                continue;
            }
            stack.push((root, 0));
            state[root] = State::Open;
            while let Some(&mut (class, ref mut next)) = stack.last_mut() {
                let candidate = &self.candidates[class][selection[class]?];
                let Some(&operand) = candidate.operands.get(*next) else {
                    state[class] = State::Done;
                    cost = cost.plus(candidate.cost);
                    reached.push(class);
                    stack.pop();
                    continue;
                };
                *next += 1;
                match state[operand] {
                    State::Done => {}
                    State::Open => return None,
                    State::Unseen => {
                        state[operand] = State::Open;
                        stack.push((operand, 0));
                    }
                }
            }
        }
        Some((cost, reached))
    }

    /// Changes single terms of `selection` as long as that makes it cheaper.
    fn descend(&self, mut selection: Selection) -> Option<(Cost, Selection)> {
        let (mut cost, mut reached) = self.evaluate(&selection)?;
        for _ in 0..MOST_ROUNDS {
            let mut improved = false;
            for class in reached.clone() {
                for i in 0..self.candidates[class].len() {
                    let old = selection[class];
                    if old == Some(i) {
                        continue;
                    }
                    selection[class] = Some(i);
                    match self.evaluate(&selection) {
                        Some((new, _)) if new < cost => {
                            cost = new;
                            improved = true;
                        }
                        _ => selection[class] = old,
                    }
                }
            }
            if !improved {
                break;
            }
            (cost, reached) = self.evaluate(&selection)?;
        }
        Some((cost, selection))
    }
}

/// The classes that a candidate of `class` needs, with what each costs; `None` while an operand has
/// no choice yet, or needs `class` itself.
fn needs(
    sets: &[Option<(Cost, BTreeMap<usize, Cost>)>],
    candidate: &Candidate,
    class: usize,
) -> Option<BTreeMap<usize, Cost>> {
    let mut operands = candidate.operands.iter();
    let mut all = match operands.next() {
        Some(&first) => sets[first].as_ref()?.1.clone(),
        None => BTreeMap::new(),
    };
    for &operand in operands {
        for (&class, &cost) in &sets[operand].as_ref()?.1 {
            all.entry(class).or_insert(cost);
        }
    }
    (!all.contains_key(&class)).then_some(all)
}

/// `term` with its operands' classes named as they are now.
pub(super) fn canonical(egraph: &EGraph, term: &Term) -> Term {
    Term {
        head: term.head,
        operands: term.operands.iter().map(|&c| egraph.find(c)).collect(),
    }
}

/// For each constant class, the term that takes the fewest steps to compute.
pub(super) fn constants(egraph: &EGraph) -> BTreeMap<Id, Term> {
    let mut ids: Vec<Id> = egraph
        .classes()
        .filter(|c| c.data.constant.is_some())
        .map(|c| c.id)
        .collect();
    ids.sort();
    let mut best: BTreeMap<Id, (u64, Term)> = BTreeMap::new();
    loop {
        let mut changed = false;
        for &id in &ids {
            for term in &egraph[id].nodes {
                let term = canonical(egraph, term);
                let steps = match term.head {
                    Head::Weight(_) => Some(0),
                    Head::Literal(_) => Some(1),
                    _ => term.operands.iter().try_fold(2u64, |sum, c| {
                        if egraph[*c].data.types.is_empty() {
                            return Some(sum);
                        }
                        sum.checked_add(best.get(c)?.0)
                    }),
                };
                if let Some(steps) = steps
                    && best.get(&id).is_none_or(|(b, t)| (steps, &term) < (*b, t))
                {
                    best.insert(id, (steps, term));
                    changed = true;
                }
            }
        }
        if !changed {
            return best.into_iter().map(|(id, (_, term))| (id, term)).collect();
        }
    }
}
