use std::{collections::HashMap, num::NonZeroU32};

use crate::{
    KnowledgeMode, KnowledgeSpec,
    node::{Kind, Node, quote},
    values::Decoder,
};

/// Longest name: with `search_` in front it is a tool's.
const MAX_NAME_CHARS: usize = 57;

/// Most passages of a search that a model is given.
const MAX_RESULTS: u32 = 100;

const MODES: [(&str, KnowledgeMode); 3] = [
    ("hybrid", KnowledgeMode::Hybrid),
    ("vector", KnowledgeMode::Vector),
    ("keyword", KnowledgeMode::Keyword),
];

impl Decoder<'_> {
    pub(crate) fn knowledge(&mut self, node: &Node) -> Option<Vec<KnowledgeSpec>> {
        let all = self.list(node, Self::knowledge_base)?;
        let Kind::Sequence(nodes) = &node.kind else { return Some(all) };
        let mut lines: HashMap<&str, usize> = HashMap::new();
        for (base, Node { place, .. }) in all.iter().zip(nodes.iter()) {
            if let Some(line) = lines.insert(&base.name, place.line) {
                self.report(
                    *place,
                    format!("the knowledge base of line {line} has the name {} too", quote(&base.name)),
                );
            }
        }
        Some(all)
    }

    fn knowledge_base(&mut self, node: &Node) -> Option<KnowledgeSpec> {
        let mut f = self.fields(node, "a knowledge base")?;
        let name = self.required(&mut f, "name", None).and_then(|node| self.knowledge_name(node));
        let description = self.optional(f.take("description"), Self::text);
        let sources = self.optional(f.take("sources"), |d, n| d.list(n, Self::path)).unwrap_or_default();
        let loaders = self.optional(f.take("loaders"), |d, n| d.list(n, Self::path)).unwrap_or_default();
        let model = self.optional(f.take("model"), Self::path);
        let size = self.optional(f.take("size"), Self::count);
        let mode = self.optional(f.take("mode"), |d, n| d.word(n, &MODES));
        let results = self.optional(f.take("results"), Self::results);
        let budget = self.optional(f.take("budget"), Self::count);
        self.finish(f);
        Some(KnowledgeSpec { name: name?, description, sources, loaders, model, size, mode, results, budget })
    }

    /// As it stands: a tool's name does not depend on the environment.
    fn knowledge_name(&mut self, node: &Node) -> Option<String> {
        let form = format!("a name of 1 to {MAX_NAME_CHARS} letters, digits, `-` and `_`");
        match &node.kind {
            Kind::Scalar { text, .. }
                if node.is_text() && text.len() <= MAX_NAME_CHARS && crate::decode::is_name(text) =>
            {
                Some(text.to_string())
            }
            _ => self.expected(node, form),
        }
    }

    fn results(&mut self, node: &Node) -> Option<NonZeroU32> {
        let count = self.count(node)?;
        if count.get() <= MAX_RESULTS {
            return Some(count);
        }
        self.expected(node, format_args!("a whole number from 1 to {MAX_RESULTS}"))
    }
}
