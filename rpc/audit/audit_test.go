package audit

import (
	"reflect"
	"testing"
	"time"
)

func chain(n int) []Record {
	var list []Record
	previous := ""
	for i := range n {
		r := Record{
			Revision: uint64(10 * (i + 1)), At: time.UnixMilli(1000), Actor: "tok_a", Source: "127.0.0.1:1", Action: "create-namespace",
			Changes: []FieldChange{{"namespace", "7", "name", "", "acme"}}, Omitted: 1, Previous: previous,
		}
		r.Hash = r.Sum()
		previous = r.Hash
		list = append(list, r)
	}
	return list
}

// Whatever is changed of a chain, Verify finds it, and where.
func TestVerify(t *testing.T) {
	if i := Verify(chain(5)); i != -1 {
		t.Errorf("record %d of a good chain", i)
	}
	if i := Verify(chain(5)[2:]); i != -1 {
		t.Errorf("record %d of the end of a good chain", i)
	}
	if i := Verify(nil); i != -1 {
		t.Errorf("record %d of none", i)
	}
	missing := chain(5)
	missing = append(missing[:2], missing[3:]...)
	if i := Verify(missing); i != 2 {
		t.Errorf("a record taken out: %d", i)
	}
	swapped := chain(5)
	swapped[1], swapped[2] = swapped[2], swapped[1]
	if i := Verify(swapped); i != 1 {
		t.Errorf("two swapped: %d", i)
	}
	for f := range reflect.TypeFor[Record]().NumField() {
		list := chain(5)
		change(reflect.ValueOf(&list[3]).Elem().Field(f))
		if i := Verify(list); i != 3 {
			t.Errorf("a changed %s: %d", reflect.TypeFor[Record]().Field(f).Name, i)
		}
	}
	for f := range reflect.TypeFor[FieldChange]().NumField() {
		list := chain(5)
		change(reflect.ValueOf(&list[3].Changes[0]).Elem().Field(f))
		if i := Verify(list); i != 3 {
			t.Errorf("a changed %s of a change: %d", reflect.TypeFor[FieldChange]().Field(f).Name, i)
		}
	}
}

func change(v reflect.Value) {
	switch v.Interface().(type) {
	case string:
		v.SetString(v.String() + "x")
	case uint64:
		v.SetUint(v.Uint() + 1)
	case time.Time:
		v.Set(reflect.ValueOf(time.UnixMilli(1001)))
	case []FieldChange:
		v.Set(reflect.ValueOf([]FieldChange{}))
	}
}

// Texts don't run together: moving a byte from one field to the next gives another hash.
func TestSumKeepsFieldsApart(t *testing.T) {
	a, b := Record{Actor: "ab", Source: "c"}, Record{Actor: "a", Source: "bc"}
	if a.Sum() == b.Sum() {
		t.Error("two records have one hash")
	}
}
