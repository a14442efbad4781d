package raftfsm

import (
	"math"
	"slices"
	"strings"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// The bounds of a namespace's labels.
const (
	LabelsMax          = 64
	LabelKeyBytesMax   = 63
	LabelValueBytesMax = 255
)

// LimitMax is the largest bound that a limit takes.
const LimitMax = math.MaxInt64

// LimitKind says what a limit bounds. Its numbers are on the wire and append-only.
type LimitKind uint32

// The kinds of limits.
const (
	LimitKeys              LimitKind = 1
	LimitBytes             LimitKind = 2
	LimitConnections       LimitKind = 3
	LimitCommandsPerSecond LimitKind = 4
	LimitInBytesPerSecond  LimitKind = 5
	LimitOutBytesPerSecond LimitKind = 6
	LimitValueBytes        LimitKind = 7
)

// LimitKinds returns every kind, in the order of their numbers.
func LimitKinds() []LimitKind {
	return []LimitKind{
		LimitKeys, LimitBytes, LimitConnections, LimitCommandsPerSecond, LimitInBytesPerSecond,
		LimitOutBytesPerSecond, LimitValueBytes,
	}
}

// String returns the kind's name, as in the admin API.
func (k LimitKind) String() string {
	switch k {
	case LimitKeys:
		return "keys"
	case LimitBytes:
		return "bytes"
	case LimitConnections:
		return "connections"
	case LimitCommandsPerSecond:
		return "commands_per_second"
	case LimitInBytesPerSecond:
		return "in_bytes_per_second"
	case LimitOutBytesPerSecond:
		return "out_bytes_per_second"
	case LimitValueBytes:
		return "value_bytes"
	}
	return "unknown"
}

// LimitOf returns the place of a kind's limit in the record, or nil for an unknown kind.
func LimitOf(l *atollpb.Limits, k LimitKind) **atollpb.Limit {
	switch k {
	case LimitKeys:
		return &l.Keys
	case LimitBytes:
		return &l.Bytes
	case LimitConnections:
		return &l.Connections
	case LimitCommandsPerSecond:
		return &l.CommandsPerSecond
	case LimitInBytesPerSecond:
		return &l.InBytesPerSecond
	case LimitOutBytesPerSecond:
		return &l.OutBytesPerSecond
	case LimitValueBytes:
		return &l.ValueBytes
	}
	return nil
}

// SetLimit sets one limit of a namespace; both bounds 0 remove it.
type SetLimit struct {
	Kind       LimitKind
	Soft, Hard uint64 // 0 is none
}

func (l *SetLimit) fields(f *fields) {
	enum(f, &l.Kind)
	f.u64(&l.Soft)
	f.u64(&l.Hard)
}

// SetLabel sets one label of a namespace, or removes it.
type SetLabel struct {
	Key, Value string
	Remove     bool
}

func (l *SetLabel) fields(f *fields) {
	f.str(&l.Key)
	f.str(&l.Value)
	f.boolean(&l.Remove)
}

// Switch is what a command says about a setting that is on or off.
type Switch uint32

// The positions of a Switch.
const (
	Unchanged Switch = 0
	On        Switch = 1
	Off       Switch = 2
)

func (s Switch) apply(v *bool) {
	if s != Unchanged {
		*v = s == On
	}
}

func validateSwitch(field string, s Switch) *Error {
	if s > Off {
		return refuse(CodeInvalid, field, "%s %d is neither on nor off", field, s)
	}
	return nil
}

// ValidateLabelKey checks a label's key: 1 to LabelKeyBytesMax bytes of letters, digits, '.', '_', '/' and '-'.
func ValidateLabelKey(key string) *Error {
	field := "labels"
	if key == "" || len(key) > LabelKeyBytesMax {
		return refuse(CodeInvalid, field, "labels: a key is %d bytes long: it takes 1 to %d bytes", len(key), LabelKeyBytesMax)
	}
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._/-", r)
	}
	if strings.ContainsFunc(key, odd) {
		return refuse(CodeInvalid, field, "labels: key %q takes letters, digits, '.', '_', '/' and '-'", key)
	}
	return nil
}

func compareLabel(l *atollpb.Label, key string) int { return strings.Compare(l.Key, key) }

// setLabels changes a namespace's labels, which stay in the order of their keys.
func setLabels(namespace *atollpb.Namespace, changes []SetLabel) *Error {
	for _, c := range changes {
		if err := ValidateLabelKey(c.Key); err != nil {
			return err
		}
		if err := validateText("labels."+c.Key, c.Value, LabelValueBytesMax); err != nil {
			return err
		}
		i, found := slices.BinarySearchFunc(namespace.Labels, c.Key, compareLabel)
		switch {
		case c.Remove && found:
			namespace.Labels = slices.Delete(namespace.Labels, i, i+1)
		case c.Remove:
		case found:
			namespace.Labels[i].Value = c.Value
		default:
			namespace.Labels = slices.Insert(namespace.Labels, i, &atollpb.Label{Key: c.Key, Value: c.Value})
		}
	}
	if n := len(namespace.Labels); n > LabelsMax {
		return refuse(CodeInvalid, "labels", "labels: a namespace of %d labels: it takes at most %d", n, LabelsMax)
	}
	return nil
}

// setLimits changes a namespace's limits.
func setLimits(namespace *atollpb.Namespace, changes []SetLimit) *Error {
	limits := namespace.Limits
	if limits == nil {
		limits = &atollpb.Limits{}
	}
	for _, c := range changes {
		place := LimitOf(limits, c.Kind)
		if place == nil {
			return refuse(CodeInvalid, "limits", "limits: kind %d is unknown", c.Kind)
		}
		field := "limits." + c.Kind.String()
		switch {
		case c.Soft > LimitMax || c.Hard > LimitMax:
			return refuse(CodeInvalid, field, "%s takes bounds of 0 (none) to %d", field, uint64(LimitMax))
		case c.Hard != 0 && c.Soft > c.Hard:
			return refuse(CodeInvalid, field, "%s has a soft bound of %d above its hard one of %d", field, c.Soft, c.Hard)
		case c.Soft == 0 && c.Hard == 0:
			*place = nil
		default:
			*place = &atollpb.Limit{Soft: c.Soft, Hard: c.Hard}
		}
	}
	namespace.Limits = nil
	if slices.ContainsFunc(LimitKinds(), func(k LimitKind) bool { return *LimitOf(limits, k) != nil }) {
		namespace.Limits = limits
	}
	return nil
}

// hasLabel reports whether a namespace has a label of that key and value.
func hasLabel(namespace *atollpb.Namespace, key, value string) bool {
	i, found := slices.BinarySearchFunc(namespace.Labels, key, compareLabel)
	return found && namespace.Labels[i].Value == value
}

// HasLabels reports whether a namespace has each of these labels.
func HasLabels(namespace *atollpb.Namespace, labels []SetLabel) bool {
	return !slices.ContainsFunc(labels, func(l SetLabel) bool { return !hasLabel(namespace, l.Key, l.Value) })
}
