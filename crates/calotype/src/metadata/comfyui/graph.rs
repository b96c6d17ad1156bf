//! The nodes of a graph and their links.

use std::collections::HashSet;

use serde_json::{Map, Value};

/// No chain of links is longer.
const MAX_DEPTH: usize = 64;
/// Under which names nodes that only give a value have it.
const VALUES: [&str; 12] =
    ["value", "text", "string", "int", "float", "number", "seed", "prompt", "Value", "Text", "String", "string_value"];

/// A graph of nodes, by their ids.
pub(super) struct Graph<'a> {
    nodes: &'a Map<String, Value>,
}

/// A node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    pub(super) id: &'a str,
    pub(super) class: &'a str,
    pub(super) inputs: &'a Map<String, Value>,
}

impl PartialEq for Node<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<'a> Graph<'a> {
    pub(super) fn new(nodes: &'a Map<String, Value>) -> Self {
        Self { nodes }
    }

    pub(super) fn node(&self, id: &str) -> Option<Node<'a>> {
        let (id, node) = self.nodes.get_key_value(id)?;
        let (class, inputs) = (node.get("class_type")?.as_str()?, node.get("inputs")?.as_object()?);
        Some(Node { id, class, inputs })
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = Node<'a>> {
        self.nodes.keys().filter_map(|id| self.node(id))
    }

    /// The node that an input is linked to: `"model": ["4", 0]`.
    pub(super) fn link(&self, node: Node<'a>, input: &str) -> Option<Node<'a>> {
        self.target(node.inputs.get(input)?)
    }

    fn target(&self, value: &Value) -> Option<Node<'a>> {
        match value.as_array()?.as_slice() {
            [Value::String(id), Value::Number(_)] => self.node(id),
            [Value::Number(id), Value::Number(_)] => self.node(&id.to_string()),
            _ => None,
        }
    }

    /// All nodes that a node is linked to.
    pub(super) fn links(&self, node: Node<'a>) -> Vec<Node<'a>> {
        node.inputs.values().filter_map(|value| self.target(value)).collect()
    }

    /// The value of an input, which a node that gives values may have.
    pub(super) fn value(&self, node: Node<'a>, input: &str) -> Option<&'a Value> {
        let mut value = node.inputs.get(input)?;
        for _ in 0..MAX_DEPTH {
            let Some(giver) = self.target(value) else { return Some(value).filter(|value| !value.is_array()) };
            value = std::iter::once(input).chain(VALUES).find_map(|name| giver.inputs.get(name))?;
        }
        None
    }

    /// The text of an input.
    pub(super) fn text(&self, node: Node<'a>, input: &str) -> Option<&'a str> {
        self.value(node, input)?.as_str()
    }

    /// The nodes from one on along the links of an input.
    pub(super) fn chain(&self, node: Node<'a>, input: &str) -> Vec<Node<'a>> {
        let mut chain = Vec::new();
        let mut next = self.link(node, input);
        while let Some(node) = next.filter(|node| chain.len() < MAX_DEPTH && !chain.contains(node)) {
            chain.push(node);
            next = self.link(node, input);
        }
        chain
    }

    /// The nodes before one, the nearest first, itself included.
    pub(super) fn before(&self, node: Node<'a>) -> Vec<Node<'a>> {
        let (mut found, mut seen) = (vec![node], HashSet::from([node.id]));
        let mut at = 0;
        while let Some(&node) = found.get(at) {
            at += 1;
            found.extend(self.links(node).into_iter().filter(|node| seen.insert(node.id)));
        }
        found
    }
}
