//! In which order things stand on one another, and where they do so in a circle.
//!
//! Invariant: every node is in the order once, and no depth of nesting takes stack.

use base::diagnostic::Place;

/// What was found.
pub(super) struct Order {
    /// Every node, behind those that it leads to.
    pub(super) order: Vec<usize>,
    /// One circle for each edge that closes one.
    pub(super) circles: Vec<Circle>,
}

/// A way that leads back to where it began.
pub(super) struct Circle {
    /// The nodes in their order, the first one at the end again.
    pub(super) nodes: Vec<usize>,
    /// The edge that closes it.
    pub(super) closed_at: Place,
}

/// How far a walk has come with a node.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    OnTheWay,
    Done,
}

/// Walks all edges: `edges[n]` are the nodes that `n` leads to, and where that is written.
pub(super) fn order(edges: &[Vec<(usize, Place)>]) -> Order {
    let mut found = Order { order: Vec::with_capacity(edges.len()), circles: Vec::new() };
    let mut marks = vec![Mark::New; edges.len()];
    for start in 0..edges.len() {
        if marks[start] != Mark::New {
            continue;
        }
        // The nodes on the way, each with how many of its edges were walked.
        let mut way = vec![(start, 0)];
        marks[start] = Mark::OnTheWay;
        while let Some((node, walked)) = way.last_mut() {
            let (node, next) = (*node, edges[*node].get(*walked).copied());
            *walked += 1;
            match next {
                None => {
                    marks[node] = Mark::Done;
                    found.order.push(node);
                    way.pop();
                }
                Some((to, closed_at)) if marks[to] == Mark::OnTheWay => {
                    let nodes = way.iter().map(|(node, _)| *node);
                    let mut nodes: Vec<_> = nodes.skip_while(|node| *node != to).collect();
                    nodes.push(to);
                    found.circles.push(Circle { nodes, closed_at });
                }
                Some((to, _)) if marks[to] == Mark::New => {
                    marks[to] = Mark::OnTheWay;
                    way.push((to, 0));
                }
                Some(_) => {}
            }
        }
    }
    found
}

impl Order {
    /// The first node that stands on more than `most` levels, with its edge that makes it so; none
    /// where there are circles, which have no levels.
    pub(super) fn deeper_than(
        &self,
        most: usize,
        edges: &[Vec<(usize, Place)>],
    ) -> Option<(usize, Place)> {
        if !self.circles.is_empty() {
            return None;
        }
        let mut levels = vec![0_usize; edges.len()];
        for node in &self.order {
            for (to, place) in &edges[*node] {
                levels[*node] = levels[*node].max(levels[*to] + 1);
                if levels[*node] > most {
                    return Some((*node, *place));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Edges as `ab` for a to b; the order, then the circles.
    #[track_caller]
    fn check(nodes: usize, edges: &[&str], expected: &str) {
        let number = |c: char| usize::from(c as u8 - b'a');
        let mut table = vec![Vec::new(); nodes];
        for (line, edge) in (1..).zip(edges) {
            let mut ends = edge.chars().map(number);
            let (from, to) = (ends.next().unwrap(), ends.next().unwrap());
            table[from].push((to, Place { line, column: 1 }));
        }
        let text = |nodes: &[usize]| -> String {
            nodes.iter().map(|n| char::from(b'a' + u8::try_from(*n).unwrap())).collect()
        };
        let found = order(&table);
        let circles = found.circles.iter();
        let circles = circles.map(|c| format!(" {}@{}", text(&c.nodes), c.closed_at.line));
        assert_eq!(format!("{}{}", text(&found.order), circles.collect::<String>()), expected);
    }

    #[test]
    fn what_is_needed_comes_first() {
        check(3, &[], "abc");
        check(3, &["ab", "bc"], "cba");
        check(4, &["ab", "ac", "bd", "cd"], "dbca");
    }

    #[test]
    fn circles_are_found_wherever_they_are() {
        check(1, &["aa"], "a aa@1");
        check(3, &["ab", "bc", "ca"], "cba abca@3");
        check(4, &["ab", "bc", "cb", "cd"], "dcba bcb@3");
        check(4, &["ab", "ba", "cd", "dc"], "badc aba@2 cdc@4");
    }

    #[test]
    fn depth_takes_no_stack_and_is_told() {
        let edges: Vec<_> = (0..200_000)
            .map(|n| if n < 199_999 { vec![(n + 1, Place { line: 1, column: 1 })] } else { vec![] })
            .collect();
        let found = order(&edges);
        assert_eq!(found.order[0], 199_999);
        assert_eq!(found.deeper_than(32, &edges).map(|(node, _)| node), Some(199_966));
        assert!(found.deeper_than(199_999, &edges).is_none());
    }
}
