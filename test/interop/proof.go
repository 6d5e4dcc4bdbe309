package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// recordProof is section 5 of docs/formats.md.
type recordProof struct {
	Format, ID, Origin, Header, Proof string
	Record                            struct {
		Index int64
		Row   string
		Path  []string
	}
	Dictionary []struct {
		Number int64
		Kind   byte
		Bytes  string
		Salt   string
		Path   []string
	}
}

// rootLine reads "NAME [first] COUNT ROOT" from the batch header.
func rootLine(header, name string) (int64, tlog.Hash, error) {
	for _, line := range strings.Split(header, "\n") {
		if fields := strings.Fields(line); len(fields) >= 3 && fields[0] == name {
			count, err := strconv.ParseInt(fields[len(fields)-2], 10, 32)
			if err != nil || count < 0 {
				return 0, tlog.Hash{}, failf("header line %q", line)
			}
			root, err := parseHash(fields[len(fields)-1])
			return count, root, err
		}
	}
	return 0, tlog.Hash{}, failf("the header has no line %q", name)
}

// inTree checks an RFC 6962 audit path; x/mod has the same order, leaf sibling first.
func inTree(what string, entry []byte, index, count int64, root tlog.Hash, path []string) error {
	if index < 0 || index >= count {
		return failf("%s: %d is not below %d", what, index, count)
	}
	var proof tlog.RecordProof
	for _, text := range path {
		hash, err := parseHash(text)
		if err != nil {
			return failf("%s: %v", what, err)
		}
		proof = append(proof, hash)
	}
	if err := tlog.CheckRecord(proof, count, root, index, tlog.RecordHash(entry)); err != nil {
		return failf("%s: %v", what, err)
	}
	return nil
}

// checkTlogProof checks a c2sp.org/tlog-proof@v1 text for an entry.
func checkTlogProof(text string, entry []byte, verifier note.Verifier) (int64, error) {
	head, signed, found := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" || !strings.HasPrefix(lines[1], "index ") {
		return 0, failf("not a tlog-proof: %q", head)
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return 0, failf("tlog-proof %q", lines[1])
	}
	checkpoint, err := openCheckpoint([]byte(signed), verifier)
	if err != nil {
		return 0, err
	}
	return index, inTree("batch header", entry, index, checkpoint.tree.N, checkpoint.tree.Hash, lines[2:])
}

const proofKeys = " format id origin header proof record index row path dictionary number kind bytes salt "

// exactKeys finds keys in another spelling: encoding/json would match them without regard to case.
func exactKeys(value any) error {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			if !strings.Contains(proofKeys, " "+key+" ") {
				return failf("unknown key %q", key)
			}
			if err := exactKeys(inner); err != nil {
				return err
			}
		}
	case []any:
		for _, inner := range value {
			if err := exactKeys(inner); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkProof verifies one record proof against the log's key.
func checkProof(text []byte, verifier note.Verifier) error {
	var p recordProof
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		return failf("not a record proof: %v", err)
	}
	var whole any
	if err := json.Unmarshal(text, &whole); err != nil {
		return failf("not one record proof: %v", err)
	}
	if err := exactKeys(whole); err != nil {
		return err
	}
	if p.Format != "meshtrail/record-proof/v1" || p.Origin != verifier.Name() {
		return failf("format %q of origin %q", p.Format, p.Origin)
	}
	leaf, err := checkTlogProof(p.Proof, []byte(p.Header), verifier)
	if err != nil {
		return err
	}
	if p.ID != fmt.Sprintf("%d.%d", leaf, p.Record.Index) {
		return failf("id %q is not that of entry %d, record %d", p.ID, leaf, p.Record.Index)
	}
	count, root, err := rootLine(p.Header, "records")
	if err != nil {
		return err
	}
	row, err := decode(p.Record.Row)
	if err != nil {
		return failf("row: %v", err)
	}
	if err := inTree("record", row, p.Record.Index, count, root, p.Record.Path); err != nil {
		return err
	}
	count, root, err = rootLine(p.Header, "dictionary")
	if err != nil {
		return err
	}
	for _, entry := range p.Dictionary {
		value, err := decode(entry.Bytes)
		if err != nil {
			return failf("dictionary entry %d: %v", entry.Number, err)
		}
		salt, err := decode(entry.Salt)
		if err != nil || (entry.Kind == 2) != (len(salt) == 16) {
			return failf("dictionary entry %d: salt", entry.Number)
		}
		bytes := append(append([]byte{entry.Kind}, salt...), value...)
		if err := inTree(fmt.Sprintf("dictionary entry %d", entry.Number), bytes, entry.Number-1, count, root, entry.Path); err != nil {
			return err
		}
	}
	return nil
}
