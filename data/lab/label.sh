# shellcheck shell=bash
# label.sh: labels, checks and tables from the captures.  Sourced by record.sh.
#
# A flow's label follows from its server address alone (net.sh): the lab starts every program itself, so
# nothing has to be guessed.

# what a label is called in a BPF filter: the same rule that flow_list applies
declare -A FILTER=(
  [hls]="tcp port 443 and host ${SERVER[hls]}"
  [dash]="tcp port 443 and host ${SERVER[dash]}"
  [download]="tcp port 443 and host ${SERVER[download]}"
  [voip]="udp portrange 5004-5058 and host ${SERVER[voip]}"
  [video]="udp portrange 5004-5058 and host ${SERVER[video]}"
  [screenshare]="udp portrange 5004-5058 and host ${SERVER[screenshare]}"
  [web]="tcp port 443 and host ${SERVER[web]}"
  [chat]="(tcp port 1883 or tcp port 8883) and host ${SERVER[chat]}"
  [api]="tcp port 8443 and host ${SERVER[api]}"
  [dns]="udp port 53 and host ${SERVER[dns]}"
  [ssh]="tcp port 22 and host ${SERVER[ssh]}"
  [ping]="icmp and host ${SERVER[ping]}"
)
declare -A MACRO=(
  [hls]=streaming [dash]=streaming [download]=streaming
  [voip]=conferencing [video]=conferencing [screenshare]=conferencing
  [web]=web [chat]=web [api]=web [dns]=background [ssh]=background [ping]=background
)

# flow_list CAPTURE: one line per flow, "proto client port server port packets", in order of appearance.
# The client is the end that is not in the server network.  A ping session is named by its identifier.
flow_list() {
  # an ICMP error quotes the packet it is about, so it would pass for TCP or UDP
  in_time 300 tshark -n -r "$1" -Y '(tcp || udp || icmp.type == 8 || icmp.type == 0) && !(icmp.type == 3)' \
    -T fields -E occurrence=f -E separator=' ' -E quote=n \
    -e ip.proto -e ip.src -e ip.dst -e tcp.srcport -e tcp.dstport -e udp.srcport -e udp.dstport \
    -e icmp.ident 2>/dev/null |
    awk '
      $1 == 1 { proto = "icmp"; a = $4; b = 0; if ($2 ~ /^192\.0\.2\./) { a = 0; b = $4 } }
      $1 == 6 { proto = "tcp"; a = $4; b = $5 }
      $1 == 17 { proto = "udp"; a = $4; b = $5 }
      { key = ($2 ~ /^192\.0\.2\./) ? proto " " $3 " " b " " $2 " " a : proto " " $2 " " a " " $3 " " b
        if (!(key in n)) order[++flows] = key
        n[key]++ }
      END { for (i = 1; i <= flows; i++) print order[i], n[order[i]] }'
}

# label_flows: adds the label to each line of flow_list; "-" for what carries none (RTCP, SIP)
label_flows() {
  local label table=
  for label in "${LABELS[@]}"; do table+="${SERVER[$label]} $label "; done
  awk -v table="$table" '
    BEGIN { n = split(table, t, " "); for (i = 1; i < n; i += 2) label[t[i]] = t[i + 1] }
    { l = ($4 in label) ? label[$4] : "-"
      if ((l == "voip" || l == "video" || l == "screenshare") && !($1 == "udp" && $5 >= 5004 && $5 <= 5058)) l = "-"
      if (l == "ping" && $1 != "icmp" || l != "ping" && $1 == "icmp") l = "-"
      print $0, l }'
}

# label_rows FILE RUN: rows of labels.csv, from the lines of label_flows
label_rows() {
  local file=$1 run=$2 proto src sport dst dport packets label
  if [[ $run == "$FILTER_RUN" ]]; then
    for label in "${LABELS[@]}"; do echo "$file,,,,,,$label,${MACRO[$label]},$run,${FILTER[$label]}"; done
    return
  fi
  while read -r proto src sport dst dport packets label; do
    [[ $label != - ]] || continue
    echo "$file,$proto,$src,$sport,$dst,$dport,$label,${MACRO[$label]},$run,"
  done
}

# table FLOW-FILE...: flows, packets and median packets per flow, for each label and run
table() {
  awk -v labels="${LABELS[*]}" '
    FNR == 1 { run++ }
    $7 != "-" {
      id = $7 " " run; n[id]++; p[id] += $6; len[id, n[id]] = $6
      all[$7]++; packets[$7] += $6; if ($6 < 8) short[$7]++
    }
    $7 == "-" { other++; other_packets += $6 }
    function median(id,   k, i, j, v, s) {
      k = n[id]
      for (i = 1; i <= k; i++) s[i] = len[id, i]
      for (i = 2; i <= k; i++) { v = s[i]; for (j = i - 1; j > 0 && s[j] > v; j--) s[j + 1] = s[j]; s[j + 1] = v } # by insertion
      return k ? (k % 2 ? s[(k + 1) / 2] : (s[k / 2] + s[k / 2 + 1]) / 2) : 0
    }
    END {
      head = "| label |"; rule = "| --- |"
      for (r = 1; r <= run; r++) { head = head " run " r " |"; rule = rule " --- |" }
      print head " flows | packets | under 8 packets |"; print rule " --- | --- | --- |"
      m = split(labels, l, " ")
      for (i = 1; i <= m; i++) {
        line = "| " l[i] " |"
        for (r = 1; r <= run; r++) { id = l[i] " " r; line = line sprintf(" %d / %d / %g |", n[id], p[id], median(id)) }
        print line " " all[l[i]] + 0 " | " packets[l[i]] + 0 " | " short[l[i]] + 0 " |"
        flows += all[l[i]]; total += packets[l[i]]
      }
      line = "| all |"; for (r = 1; r <= run; r++) line = line "  |"
      print line " " flows " | " total " |  |"
      line = "| unlabelled |"; for (r = 1; r <= run; r++) line = line "  |"
      print line " " other + 0 " | " other_packets + 0 " |  |"
    }' "$@"
}

# check_capture RUN FULL-CAPTURE TCPDUMP-LOG: a line of the table of checks; fails if a check does
check_capture() {
  local run=$1 full=$2 log=$3 packets dropped big bad
  packets=$(in_time 60 capinfos -Mc "$full" 2>/dev/null | awk '/Number of packets/ { print $NF }')
  dropped=$(awk '/dropped by/ { n += $1 } END { print n + 0 }' "$log")
  big=$(in_time 120 tshark -n -r "$full" -Y 'frame.len > 1514' -T fields -e frame.number 2>/dev/null | wc -l)
  # status 0 is a wrong sum; the headers quoted in an ICMP error are not packets of their own
  bad=$(in_time 300 tshark -n -r "$full" -o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE \
    -Y '!(icmp.type == 3) && (ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0
      || icmp.checksum.status == 0)' \
    -T fields -e frame.number 2>/dev/null | wc -l)
  echo "| $run | $packets | $dropped | $big | $bad |"
  ((packets > 0 && dropped == 0 && big == 0 && bad == 0))
}
