package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// examples returns what the help and the manual page of a command show, by its path, lines of a shell. A transcript in
// integration/testdata/script runs each of them.
func examples() map[string]string {
	return map[string]string{
		"server": "atoll server --data-dir /var/lib/atoll",
		"data":   "atoll data --node-id data-2 --data-dir /var/lib/atoll --join 192.0.2.1:7379 --resp-addr 192.0.2.2:6379 --cluster-addr 192.0.2.2:7379",
		"meta":   "atoll meta --node-id meta-2 --data-dir /var/lib/atoll --join 192.0.2.1:7379 --http-addr 192.0.2.2:8379 --cluster-addr 192.0.2.2:7379",

		"ns create": "atoll ns create acme\n" +
			"atoll ns create shop --durability local --label env=prod --limit keys=1000000:800000 --limit bytes=10GiB --wait 10s\n" +
			"atoll ns create lab --secret - --role read-only --token-label dashboards --ttl 24h < secret.txt",
		"ns list":      "atoll ns list\natoll ns list --label env=prod\natoll ns list --state suspended\natoll ns list --deleted",
		"ns show":      "atoll ns show shop",
		"ns update":    "atoll ns update shop --durability async --label env- --label team=web --limit keys=none",
		"ns apply":     "atoll ns apply -f tenants.yaml --dry-run\natoll ns apply -f tenants.yaml --prune --yes",
		"ns rename":    "atoll ns rename shop store",
		"ns suspend":   "atoll ns suspend store",
		"ns resume":    "atoll ns resume store",
		"ns read-only": "atoll ns read-only store on\natoll ns read-only store off",
		"ns delete":    "atoll ns delete store\natoll ns delete silent --now",
		"ns undelete":  "atoll ns undelete store --as store-2 --no-token\natoll ns undelete lab",
		"ns purge":     "atoll ns purge 42",

		"token create": "atoll token create acme\natoll token create acme --role read-only --label dashboards --ttl 720h\n" +
			"atoll token create __namespace --role operator --label deploy",
		"token list":   "atoll token list acme",
		"token update": "atoll token update acme tok_2f6n4c5dbu7t3qkzq6m3h4a5wi --label reports --expires never",
		"token rotate": "atoll token rotate acme tok_2f6n4c5dbu7t3qkzq6m3h4a5wi --overlap 1h",
		"token revoke": "atoll token revoke acme tok_2f6n4c5dbu7t3qkzq6m3h4a5wi",

		"node invite":   "atoll node invite --role data --uses 2 --ttl 15m\natoll node invite -q --for data-2",
		"node invites":  "atoll node invites",
		"node uninvite": "atoll node uninvite 5f0c9a3e7b12d846",
		"node list":     "atoll node list",
		"node show":     "atoll node show data-2",
		"node drain":    "atoll node drain data-2",
		"node remove":   "atoll node remove data-2",
		"group status":  "atoll group status",
		"group promote": "atoll group promote 1 data-2",

		"meta list":     "atoll meta list",
		"meta transfer": "atoll meta transfer meta-2",
		"meta remove":   "atoll meta remove meta-3",
		"meta backup":   "atoll meta backup meta.snapshot",
		"meta restore":  "atoll meta restore meta.snapshot --data-dir /var/lib/atoll --floor 100000",

		"tls show":   "atoll tls show",
		"tls renew":  "atoll tls renew --wait 10s",
		"tls finish": "atoll tls finish\natoll tls finish --force",

		"audit list":   "atoll audit list\natoll audit list --last 1 --namespace acme",
		"audit follow": "atoll audit follow --after 42",
		"audit verify": "atoll audit verify",

		"status": "atoll status\natoll status -o json",
		"health": "atoll health\natoll health data --resp-addr 127.0.0.1:6379",
		"top":    "atoll top --once --sort keys\natoll top --every 500ms",
		"cli":    "atoll cli SET greeting hello\natoll cli --token the-secret-of-acme DBSIZE\natoll cli < commands.txt",
		"bench": "atoll bench --a 127.0.0.1:6379 --workloads set,get --pipelines 16 --keys 100 --requests 1000 --rounds 1\n" +
			"atoll bench --a 127.0.0.1:6379 --b 127.0.0.1:6390 --workloads get --pipelines 1 --keys 100 --requests 200 --rounds 2",
		"config":       "atoll config\natoll config --changed --config atoll.yaml --idle-timeout 90s",
		"debug bundle": "atoll debug bundle bundle.tar.gz --resp-addr 127.0.0.1:6379",
		"debug verify": "atoll debug verify --data-dir /var/lib/atoll",
		"man":          "atoll man man1",
		"version":      "atoll version",
	}
}

// addExamples puts the examples into a command and those below it.
func addExamples(c *cobra.Command, all map[string]string) {
	if lines := all[strings.TrimPrefix(c.CommandPath(), "atoll ")]; lines != "" {
		c.Example = "  " + strings.ReplaceAll(lines, "\n", "\n  ")
	}
	for _, sub := range c.Commands() {
		addExamples(sub, all)
	}
}
