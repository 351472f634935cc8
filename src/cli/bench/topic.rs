/// A topic with holes: `%i` is the number of a client, `%g` that of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

impl From<&str> for Template {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Template {
    /// The topic of a client.
    pub fn fill(&self, group: u64, client: u64) -> String {
        self.0.replace("%g", &group.to_string()).replace("%i", &client.to_string())
    }

    /// What finds the topics of all clients of a group: the level with `%i` becomes `+`, and `#` if it is the last one.
    pub fn filter(&self, group: u64) -> String {
        let levels: Vec<_> = self.0.split('/').collect();
        let filled = levels.iter().enumerate().map(|(at, level)| match level.contains("%i") {
            false => level.replace("%g", &group.to_string()),
            true if at + 1 == levels.len() => "#".into(),
            true => "+".into(),
        });
        filled.collect::<Vec<_>>().join("/")
    }

    /// What finds the topics of all groups.
    pub fn everything(&self) -> String {
        let fixed: Vec<_> = self.0.split('/').take_while(|level| !level.contains(['%', '+', '#'])).collect();
        if fixed.len() == self.0.split('/').count() {
            return self.0.clone();
        }
        fixed.into_iter().chain(["#"]).collect::<Vec<_>>().join("/")
    }

    /// True when clients of a group have topics of their own.
    pub fn tells_clients_apart(&self) -> bool {
        self.0.contains("%i")
    }

    /// True when groups have topics of their own.
    pub fn tells_groups_apart(&self) -> bool {
        self.0.contains("%g")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_filled() {
        let template = Template::from("a/%g/x%i");
        assert_eq!((template.fill(3, 17), template.filter(3)), ("a/3/x17".into(), "a/3/#".into()));
        let template = Template::from("a/%i/b");
        assert_eq!((template.fill(3, 17), template.filter(3)), ("a/17/b".into(), "a/+/b".into()));
        let template = Template::from("plain");
        assert_eq!((template.fill(3, 17), template.filter(3)), ("plain".into(), "plain".into()));
        assert!(!template.tells_clients_apart() && !template.tells_groups_apart());
        for (template, everything) in [("a/%g/x%i", "a/#"), ("plain/a", "plain/a"), ("%i", "#"), ("a/b%i/c", "a/#")] {
            assert_eq!(Template::from(template).everything(), everything);
        }
    }
}
