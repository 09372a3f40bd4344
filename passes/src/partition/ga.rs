//! The genetic splitter of SPLIT, to compare with.

use super::chain::Chain;
use plans::blocks::Figures;

/// How the genetic splitter searches. The defaults are the reference's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GeneticOptions {
    /// Splits that are alive at once; at least 2.
    pub population: usize,
    /// The most generations.
    pub generations: usize,
    /// The search ends after so many generations whose best split is no better.
    pub stall: usize,
    /// What the random numbers start from.
    pub seed: u64,
}

impl Default for GeneticOptions {
    fn default() -> Self {
        Self {
            population: 20,
            generations: 100,
            stall: 7,
            seed: 0,
        }
    }
}

/// The best split of a generation.
#[derive(Clone, PartialEq, Debug)]
pub struct Generation {
    /// The generation, from 0.
    pub step: usize,
    /// The starts of its blocks but the first, as numbers of steps of the model.
    pub cuts: Vec<usize>,
    /// Its fitness.
    pub fitness: f64,
    /// Its figures.
    pub figures: Figures,
}

/// SPLIT's fitness, the less the better: exp(3 (overhead / (0.08 n) - 1)) + exp(σ / (0.03 R) - 1) of n
/// blocks, σ the standard deviation of their times and R the uncut model's time. 8 % overhead a block
/// and a deviation of 3 % of R are tolerated.
pub fn fitness(figures: &Figures) -> f64 {
    let (a, b) = exponents(figures);
    a.exp() + b.exp()
}

/// The logarithm of the fitness: of the same order, and finite.
fn log_fitness(figures: &Figures) -> f64 {
    let (a, b) = exponents(figures);
    a.max(b) + (-(a - b).abs()).exp().ln_1p()
}

fn exponents(figures: &Figures) -> (f64, f64) {
    let whole = (figures.whole_ns as f64).max(1.0);
    (
        3.0 * (figures.overhead() / (0.08 * figures.n_blocks.max(1) as f64) - 1.0),
        figures.std_ns / (0.03 * whole) - 1.0,
    )
}

/// The share of the population that crossing adds in a generation.
const CROSSED: f64 = 0.7;
/// The share of those that are mutated too.
const MUTATED: f64 = 0.2;
/// The greatest mutation, as a share of the chain.
const REACH: f64 = 0.2;
/// The least gain of a generation that does not stall.
const GAIN: f64 = 0.01;

/// The starts of `n` blocks, at most as many as there can be and no fewer than are forced, and the best
/// of each generation.
///
/// A split is its cuts, ascending. Each generation crosses two splits, chosen by rank with weight
/// 1/√(rank + 1), cut by cut with a random mean of both, and moves the cuts of some; the best quarter of
/// all stays, the rest is drawn by rank. Moves shrink with √generation from the fifth on.
///
/// It differs from the reference where that is wrong: crossing covers exactly the cuts (there, one more
/// than there are); means and moves are rounded, not cut off, and moves are a share of the chain and
/// never none (there, less than one step, so that almost none had an effect but to move back by one);
/// cuts that fall together move apart (there, blocks without steps); random numbers have a seed; block
/// times are predicted, not measured while other threads measure.
pub(super) fn genetic(
    chain: &Chain,
    n: usize,
    options: &GeneticOptions,
) -> (Vec<usize>, Vec<Generation>) {
    let free = chain.free();
    let n_cuts = n.saturating_sub(chain.forced().len()).min(free.len());
    let mut search = Search {
        forced: chain.forced(),
        free,
        whole_ns: chain.whole_ns(),
        chain,
        random: Random(options.seed),
    };
    let population = options.population.max(2);
    let mut alive: Vec<Candidate> = (0..population)
        .map(|_| {
            let genes = (0..n_cuts)
                .map(|_| search.random.below(search.free.len()))
                .collect();
            search.candidate(genes)
        })
        .collect();
    rank(&mut alive);
    let mut log = vec![search.generation(0, &alive[0])];
    let mut stalled = 0;
    for step in 1..=options.generations {
        if n_cuts == 0 || stalled >= options.stall {
            break;
        }
        let n_crossed = (population as f64 * CROSSED).round() as usize;
        for _ in 0..n_crossed {
            let genes = search.cross(&alive[..population], step);
            let crossed = search.candidate(genes);
            alive.push(crossed);
        }
        rank(&mut alive);
        alive = search.survivors(alive, population);
        let best = search.generation(step, &alive[0]);
        let before = log.last().map_or(f64::INFINITY, |g| g.fitness);
        // Fitness too great for a number stands still.
        let gains = before - best.fitness >= GAIN;
        stalled = if gains { 0 } else { stalled + 1 };
        log.push(best);
    }
    (search.starts(&alive[0].genes), log)
}

/// A split and how good it is.
#[derive(Clone)]
struct Candidate {
    /// Positions in the list of free boundaries, ascending.
    genes: Vec<usize>,
    log_fitness: f64,
}

/// The best first; of equals, the one with earlier cuts.
fn rank(candidates: &mut [Candidate]) {
    candidates.sort_by(|a, b| {
        let by_genes = || a.genes.cmp(&b.genes);
        a.log_fitness.total_cmp(&b.log_fitness).then_with(by_genes)
    });
}

struct Search<'a> {
    chain: &'a Chain,
    forced: Vec<usize>,
    free: Vec<usize>,
    whole_ns: u64,
    random: Random,
}

impl Search<'_> {
    fn starts(&self, genes: &[usize]) -> Vec<usize> {
        let cuts = genes.iter().map(|&g| self.free[g]);
        let mut starts: Vec<usize> = cuts.chain(self.forced.iter().copied()).collect();
        starts.sort_unstable();
        starts
    }

    fn figures(&self, genes: &[usize]) -> Figures {
        Figures::of(&self.chain.times(&self.starts(genes)), self.whole_ns)
    }

    /// The split nearest to `genes` whose cuts are in order and apart.
    fn candidate(&self, mut genes: Vec<usize>) -> Candidate {
        genes.sort_unstable();
        for i in 1..genes.len() {
            genes[i] = genes[i].max(genes[i - 1] + 1);
        }
        let mut limit = self.free.len();
        for gene in genes.iter_mut().rev() {
            *gene = (*gene).min(limit - 1);
            limit = *gene;
        }
        Candidate {
            log_fitness: log_fitness(&self.figures(&genes)),
            genes,
        }
    }

    fn generation(&self, step: usize, best: &Candidate) -> Generation {
        let figures = self.figures(&best.genes);
        Generation {
            step,
            cuts: self.starts(&best.genes).into_iter().skip(1).collect(),
            fitness: fitness(&figures),
            figures,
        }
    }

    /// The cuts of a child of two of `parents`, which are ranked.
    fn cross(&mut self, parents: &[Candidate], step: usize) -> Vec<usize> {
        let weights: Vec<f64> = (0..parents.len()).map(weight).collect();
        let a = self.random.weighted(&weights);
        let b = self.random.weighted(&weights);
        let mut genes: Vec<usize> = parents[a]
            .genes
            .iter()
            .zip(&parents[b].genes)
            .map(|(&a, &b)| {
                let r = self.random.unit();
                (r * a as f64 + (1.0 - r) * b as f64).round() as usize
            })
            .collect();
        if self.random.unit() < MUTATED {
            self.mutate(&mut genes, step);
        }
        genes
    }

    /// Moves every cut.
    fn mutate(&mut self, genes: &mut [usize], step: usize) {
        let n = self.free.len();
        let mut shrink = match step {
            0..=5 => 1.0,
            _ => 1.0 / ((step - 4) as f64).sqrt(),
        };
        if self.random.unit() < 0.4 {
            shrink *= shrink;
        }
        if self.random.unit() < 0.1 {
            shrink = 1.0;
        }
        for gene in genes {
            let direction = self.random.unit() - self.random.unit();
            let far = (REACH * shrink * direction * n as f64).round() as i64;
            let moved = match far {
                0 if direction < 0.0 => -1,
                0 => 1,
                far => far,
            };
            *gene = (*gene as i64 + moved).clamp(0, n as i64 - 1) as usize;
        }
    }

    /// The best quarter of `ranked`, and others drawn by rank, each once: `n` in all, ranked.
    fn survivors(&mut self, ranked: Vec<Candidate>, n: usize) -> Vec<Candidate> {
        let elite = (n / 4).max(1);
        let mut weights: Vec<f64> = (0..ranked.len()).map(weight).collect();
        let mut stays = vec![false; ranked.len()];
        for i in 0..n {
            let one = if i < elite {
                i
            } else {
                self.random.weighted(&weights)
            };
            stays[one] = true;
            weights[one] = 0.0;
        }
        let all = ranked.into_iter().zip(stays);
        all.filter(|(_, stays)| *stays).map(|(c, _)| c).collect()
    }
}

/// The weight of the one of this rank, from 0.
fn weight(rank: usize) -> f64 {
    1.0 / ((rank + 1) as f64).sqrt()
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to, and without, 1.
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number from 0 up to, and without, `n`, which is not 0.
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// A position in `weights`, one of which at least is greater than 0, in proportion to them.
    fn weighted(&mut self, weights: &[f64]) -> usize {
        let total: f64 = weights.iter().sum();
        let mut left = self.unit() * total;
        let mut last = 0;
        for (i, &w) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            last = i;
            left -= w;
            if left < 0.0 {
                break;
            }
        }
        last
    }
}
