package main

import "slices"

// kind is how a key's value is written.
type kind string

const (
	kindText     kind = "text"
	kindWord     kind = "word" // one of the row's words
	kindAddr     kind = "host:port"
	kindID       kind = "id"
	kindAddrs    kind = "host:port list" // comma-separated, or a YAML list
	kindBool     kind = "bool"
	kindInt      kind = "number"
	kindSize     kind = "size"     // bytes, with KiB, MiB or GiB behind it
	kindDuration kind = "duration" // Go's form: 250ms, 10s, 1h
	kindMode     kind = "octal"    // permissions of a file
)

// key is one row of the configuration table. From it come the flag --name, the variable ATOLL_NAME, the
// YAML key name, their parsing and bounds, --help and CONFIG.md.
type key struct {
	name     string
	kind     kind
	byDef    string
	min, max string // of numbers, sizes and durations; empty: unbounded
	words    []string
	none     bool // an address may be empty, for none
	secret   bool // never shown
	help     string
}

// configKey names the file; it is a flag and a variable, but no key of the file itself.
const configKey = "config"

// keys returns the table.
func keys() []key {
	return []key{
		{name: configKey, kind: kindText, help: "YAML file with keys of this table; flags and environment override it"},
		{name: "data-dir", kind: kindText, byDef: "./atoll-data", help: "directory of everything that this process keeps; made if it doesn't exist"},
		{name: "node-id", kind: kindID, help: "id of this node in the cluster; made at the first start and kept in the data directory"},
		{name: "resp-addr", kind: kindAddr, byDef: "127.0.0.1:6379", none: true, help: "listens for Redis clients in plain text; empty: not at all"},
		{name: "resp-tls-addr", kind: kindAddr, none: true, help: "listens for Redis clients with TLS; empty: not at all"},
		{name: "resp-tls-cert", kind: kindText, help: "PEM file of the certificate of resp-tls-addr and its chain; it, the key and the CA are read again when they change"},
		{name: "resp-tls-key", kind: kindText, help: "PEM file of the certificate's key"},
		{name: "resp-tls-client-ca", kind: kindText, help: "PEM file of the CAs of clients' certificates"},
		{name: "resp-tls-clients", kind: kindWord, byDef: "off", words: []string{"off", "optional", "required"}, help: "whether clients of resp-tls-addr show a certificate of resp-tls-client-ca"},
		{name: "resp-socket", kind: kindText, help: "path of a unix socket for Redis clients, who are local ones; empty: none"},
		{name: "resp-socket-mode", kind: kindMode, byDef: "700", min: "0", max: "777", help: "permissions of the socket, in quotes in the file"},
		{name: "http-addr", kind: kindAddr, byDef: "127.0.0.1:8379", help: "listens for the admin HTTP API"},
		{name: "http-tls-cert", kind: kindText, help: "PEM file of the certificate of http-addr and its chain, which then takes TLS alone; it and the key are read again when they change"},
		{name: "http-tls-key", kind: kindText, help: "PEM file of the certificate's key"},
		{name: "allow-plaintext", kind: kindBool, byDef: "false", help: "let resp-addr, metrics-addr, and http-addr without a certificate listen beyond the loopback: who can read the network can read tokens and data"},
		{name: "cluster-addr", kind: kindAddr, byDef: "127.0.0.1:7379", help: "listens for the other nodes of the cluster"},
		{name: "advertise-host", kind: kindText, help: "host by which clients and other nodes reach this one; needed when an address listens on all interfaces"},
		{name: "join", kind: kindAddrs, help: "cluster addresses of metadata nodes of the cluster to join"},
		{name: "discard-data", kind: kindBool, byDef: "false", help: "throw this node's rows away if they belong to another history than the cluster's"},
		{name: "begin-empty", kind: kindBool, byDef: "false", help: "begin an empty history if this node is the primary and its disk is empty: what it held is lost"},
		{name: "join-token", kind: kindText, secret: true, help: "join token of the cluster, from atoll node invite, for the first start of a node with join; better as a variable or a file, which other users don't see"},
		{name: "join-token-file", kind: kindText, help: "file that holds the join token, if join-token is not given"},
		{name: "from", kind: kindText, help: "directory of a save (BGSAVE makes them below <data-dir>/data/saves), for the first start on an empty data directory: begins a new cluster with the namespaces, tokens and data of the save, which is only read"},
		{name: "delete-grace", kind: kindDuration, byDef: "24h", min: "0s", max: "8760h", help: "how long a deleted namespace can be undeleted before its data is deleted; 0s: not at all"},
		{name: "secret-bytes-min", kind: kindInt, byDef: "16", min: "1", max: "512", help: "bytes that a token's secret must have when the caller of the admin API chooses it"},
		{name: "drain-wait", kind: kindDuration, byDef: "10s", min: "10ms", max: "10m", help: "how long a stop waits for running commands"},
		{name: "pprof-addr", kind: kindAddr, none: true, help: "serves profiles of the Go runtime under /debug/pprof/, on a loopback address; empty: not at all"},
		{name: "metrics-addr", kind: kindAddr, none: true, help: "serves metrics in Prometheus' form at /metrics, without authentication; empty: not at all"},
		{name: "metrics-namespaces", kind: kindInt, byDef: "1000", min: "0", max: "100000", help: "namespaces that have metrics of their own, the busiest; the others are summed up as _other"},
		{name: "log-level", kind: kindWord, byDef: "info", words: []string{"debug", "info", "warn", "error"}, help: "the least severe lines to log"},
		{name: "log-format", kind: kindWord, byDef: "text", words: []string{"text", "json"}, help: "form of the log on stderr"},

		{name: "replica-writes", kind: kindWord, byDef: "forward", words: []string{"forward", "refuse"}, help: "what a replica does with writes: pass them to the primary, or answer READONLY"},
		{name: "block-cache", kind: kindSize, byDef: "256MiB", min: "8MiB", max: "1TiB", help: "memory for blocks of sstables"},
		{name: "row-cache", kind: kindSize, byDef: "512MiB", min: "1MiB", max: "1TiB", help: "memory for hot rows; up to a quarter of it spares overwriting a row from reading it, for one row in each 32 bytes"},
		{name: "memtable", kind: kindSize, byDef: "16MiB", min: "1MiB", max: "1GiB", help: "size of a memtable; small ones are read faster"},
		{name: "log-segment", kind: kindSize, byDef: "64MiB", min: "1MiB", max: "4GiB", help: "size of a segment of the replicated log"},
		{name: "log-retain", kind: kindSize, byDef: "1GiB", min: "1MiB", max: "1024TiB", help: "size up to which the log is kept for replicas that come back"},
		{name: "log-retain-age", kind: kindDuration, byDef: "24h", min: "1m", max: "8760h", help: "age up to which the log is kept for replicas that come back"},
		{name: "disk-reserve", kind: kindSize, byDef: "256MiB", min: "1MiB", max: "1TiB", help: "free disk space below which writes are refused"},
		{name: "sync-rate", kind: kindSize, byDef: "0", min: "0", max: "1TiB", help: "bytes per second that one full sync may send; 0: no bound"},
		{name: "saves-kept", kind: kindInt, byDef: "2", min: "1", max: "1000", help: "saves that stay on a data node: the oldest goes when a new one is complete; a save keeps the space of tables that were compacted since"},
		{name: "packed-members", kind: kindInt, byDef: "128", min: "1", max: "65535", help: "members up to which a collection stays one row"},
		{name: "packed-size", kind: kindSize, byDef: "2KiB", min: "64", max: "64KiB", help: "size up to which a collection stays one row"},
		{name: "max-clients", kind: kindInt, byDef: "10000", min: "1", max: "1000000", help: "RESP connections at once"},
		{name: "bulk-max", kind: kindSize, byDef: "512MiB", min: "1KiB", max: "512MiB", help: "size of one argument of a command"},
		{name: "output-max", kind: kindSize, byDef: "1GiB", min: "64KiB", max: "64GiB", help: "replies of one connection that may wait in memory"},
		{name: "client-memory", kind: kindSize, byDef: "1GiB", min: "16MiB", max: "64TiB", help: "what the buffers of all RESP connections, their subscriptions and what waits for subscribers may hold, beyond 4 KiB each, an eighth of it before authentication; when it is more, those that hold most are cut"},
		{name: "memory-limit", kind: kindSize, byDef: "0", min: "0", max: "64TiB", help: "soft limit of the process's memory, unless GOMEMLIMIT is set; 0: block-cache, row-cache, five memtables, client-memory and 256MiB"},
		{name: "idle-timeout", kind: kindDuration, byDef: "0s", min: "0s", max: "8760h", help: "a RESP connection ends after this time without a byte in either direction; 0s: never"},
		{name: "view-stale-max", kind: kindDuration, byDef: "0s", min: "0s", max: "8760h", help: "after this time without hearing from the metadata service a data node takes no new sessions that authenticate; those it has go on; 0s: never"},
		{name: "auth-timeout", kind: kindDuration, byDef: "60s", min: "1s", max: "1h", help: "a RESP connection that has to authenticate ends after this time without"},

		{name: "admin-addr", kind: kindText, byDef: "127.0.0.1:8379", help: "admin HTTP API that the operator's commands call: host:port or a URL"},
		{name: "ca", kind: kindText, help: "PEM file of the CAs of the admin API's certificate, if admin-addr is an https URL; empty: the system's"},
		{name: "token", kind: kindText, secret: true, help: "admin token of the operator's commands, better as a variable, which other users don't see; without one <data-dir>/admin-token is read"},
		{name: "output", kind: kindWord, byDef: "table", words: []string{"table", "json"}, help: "form of what the operator's commands print"},
		{name: "timeout", kind: kindDuration, byDef: "45s", min: "1ms", max: "1h", help: "how long an operator's command may take; a promotion is given up after 30s"},
		{name: "wait", kind: kindDuration, byDef: "5s", min: "0s", max: "60s", help: "how long a change waits for every live data node to apply it, also beyond --timeout; 0s: not at all"},
	}
}

// The keys of the commands that run a node, and of those that call one.
func (p *program) nodeKeys(more ...string) []string {
	return append([]string{configKey, "data-dir", "node-id", "cluster-addr", "advertise-host", "join", "join-token", "join-token-file", "pprof-addr", "metrics-addr", "allow-plaintext", "log-level", "log-format"}, more...)
}

// metaKeys are those of a process with a metadata node.
func metaKeys() []string {
	return []string{"http-addr", "http-tls-cert", "http-tls-key", "delete-grace", "secret-bytes-min"}
}

// dataKeys are those of a process with a data node.
func (p *program) dataKeys(more ...string) []string {
	return p.nodeKeys(append([]string{
		"metrics-namespaces", "resp-addr", "resp-tls-addr", "resp-tls-cert", "resp-tls-key", "resp-tls-client-ca", "resp-tls-clients", "resp-socket", "resp-socket-mode",
		"discard-data", "begin-empty", "replica-writes", "block-cache", "row-cache", "memtable", "log-segment", "log-retain", "log-retain-age",
		"disk-reserve", "sync-rate", "saves-kept", "packed-members", "packed-size", "max-clients", "bulk-max", "output-max", "client-memory", "memory-limit", "idle-timeout", "auth-timeout", "view-stale-max", "drain-wait",
	}, more...)...)
}

func (p *program) adminKeys(more ...string) []string {
	return append([]string{configKey, "data-dir", "admin-addr", "ca", "token", "output", "timeout"}, more...)
}

func findKey(name string) (key, bool) {
	table := keys()
	i := slices.IndexFunc(table, func(k key) bool { return k.name == name })
	if i < 0 {
		return key{}, false
	}
	return table[i], true
}
