# shellcheck shell=bash
# clients.sh: what the clients do.  Sourced by record.sh.
#
# One function per label, NAME_session INDEX CLIENT: one visit, call, film or log-in.  Each runs in a
# subshell of its own with a seeded RANDOM, so that a repetition makes the same choices.

# sessions per run and label; a session of hls, dash or chat makes several flows
declare -A SESSIONS=(
  [hls]=7 [dash]=7 [download]=13 [voip]=13 [video]=13 [screenshare]=13
  [web]=14 [chat]=4 [api]=14 [dns]=20 [ssh]=13 [ping]=13
)
START_WINDOW=60 # seconds over which the sessions of a run start

between() { echo $(($1 + RANDOM % ($2 - $1 + 1))); }
pause() { sleep "$(awk -v lo="$1" -v hi="$2" -v r=$RANDOM 'BEGIN { print lo + (hi - lo) * r / 32767 }')"; }

# try SECONDS NAMESPACE COMMAND...: runs a program for at most so long, with stdin as it is.  A failure is
# noted but is no error: with lost packets a client may well give up.
try() {
  local secs=$1 ns=$2 rc=0
  shift 2
  timeout -k 5 "$secs" ip netns exec "$LAB-$ns" "$@" >>"$WORK/log/clients.log" 2>&1 || rc=$?
  ((rc == 0)) || echo "rc=$rc $ns: $*" >>"$WORK/log/failed.log"
}

start_sessions() {
  local run=$1 label i c n=0
  JOBS=()
  for label in "${LABELS[@]}"; do
    n=$((n + 1))
    for ((i = 0; i < SESSIONS[$label]; i++)); do
      c=${CLIENTS[(i + n + run) % ${#CLIENTS[@]}]}
      (
        RANDOM=$((SEED + run * 5000 + n * 100 + i))
        pause 0 "$START_WINDOW"
        "${label}_session" "$i" "$c"
      ) </dev/null &
      JOBS+=($!)
    done
  done
}

# --- streaming

# a player: the playlist on one connection, segments on one or two more, paced by the play-out
hls_session() {
  local film=https://${SERVER[hls]}/$((RANDOM % 4))/media.m3u8
  try 40 "$2" ffmpeg -nostdin -v error -tls_verify 0 -re -i "$film" -t "$(between 6 10)" -c copy -f null -
}

# a player that knows the byte ranges from the manifest: one connection a track, one range per request
dash_session() {
  local film=$((RANDOM % 4)) parts track pace wanted=$WORK/tmp/dash.$BASHPID
  local url=https://${SERVER[dash]}/$film
  parts=$(between 6 10)
  pace=$((60 + 30 * (RANDOM % 3)))/m
  for track in 0 1; do
    {
      if ((track == 0)); then dash_request "$url/film.mpd"; fi
      # the manifest's own list: initialisation, then media ranges, of this track
      awk -F'"' -v t="film-stream$track.mp4" '/<BaseURL>/ { on = index($0, t) } on && /Initialization range/ { print $2 }
        on && /mediaRange/ { print $2 }' "$WORK/www/dash/$film/film.mpd" | head -n "$parts" |
        while read -r range; do dash_request "$url/film-stream$track.mp4" "$range"; done
    } >"$wanted.$track"
    try 40 "$2" curl -s --rate "$pace" -K "$wanted.$track" &
  done
  wait
}

dash_request() {
  printf 'next\nurl = "%s"\ninsecure\nhttp1.1\noutput = /dev/null\n' "$1"
  if (($# > 1)); then printf 'range = %s\n' "$2"; fi
}

download_session() {
  local sizes=(60 90 130 180 240)
  local url=https://${SERVER[download]}/${sizes[RANDOM % 5]}.bin
  if (($1 % 2)); then try 40 "$2" wget -q --no-check-certificate -O /dev/null "$url"
  else try 40 "$2" curl -sk --http1.1 -o /dev/null "$url"; fi
}

# --- conferencing: both ends keep one port each, so both directions are one flow.  RTCP goes to ports of
# its own (client port + 1, server port + 2000).

udp_port() { echo $((20000 + RUN * 2000 + $1 * 100 + $2 * 4)); } # a client port nobody else has

# rtp_url FROM TO: each end as address:RTP-port:RTCP-port
rtp_url() {
  local from to
  IFS=: read -ra from <<<"$1"
  IFS=: read -ra to <<<"$2"
  echo "rtp://${to[0]}:${to[1]}?rtcpport=${to[2]}&localaddr=${from[0]}&localrtpport=${from[1]}&localrtcpport=${from[2]}"
}

# rtp_pair LABEL KIND INDEX CLIENT SECONDS FFMPEG-INPUT-AND-CODEC...: the same kind of media both ways.
# An @ in the input stands for a number from 0 to 3, drawn for each end.
rtp_pair() {
  local kind=$2 index=$3 c=$4 secs=$5 server=${SERVER[$1]} port cport packet=1200 dscp=0 mark=34
  if [[ $1 == voip ]]; then mark=46; fi
  shift 5
  port=$((5004 + 2 * index))
  cport=$(udp_port "$kind" "$index")
  if [[ $* == *pcm_mulaw* ]]; then packet=172; fi # 20 ms of G.711
  # some clients mark what must not wait; the way back loses such marks, as it mostly does
  if [[ $c == c1 || $c == c4 ]]; then dscp=$mark; fi
  local near=${ADDR[$c]}:$cport:$((cport + 1)) far=$server:$port:$((port + 2000))
  try 30 srv ffmpeg -nostdin -v error -re "${@//@/$((RANDOM % 4))}" -t "$secs" \
    -f rtp "$(rtp_url "$far" "$near")&pkt_size=$packet" &
  pause 0 0.3
  try 30 "$c" ffmpeg -nostdin -v error -re "${@//@/$((RANDOM % 4))}" -t "$secs" \
    -f rtp "$(rtp_url "$near" "$far")&pkt_size=$packet&dscp=$dscp"
  wait
}

# every second call is a SIP call with echoed audio; of the others, half are G.711 and half Opus
voip_session() {
  local spurts rate
  spurts="gt(sin(2*PI*t*0.$(between 2 6)+@)\,-0.3)" # talk and silence
  case $(($1 % 4)) in
    0) rtp_pair voip 1 "$1" "$2" "$(between 2 4)" -f lavfi -i "aevalsrc=0.4*sin(2*PI*t*200)*$spurts:s=8000:n=160" -c:a pcm_mulaw ;;
    2) rate=$(between 12 32)k
      rtp_pair voip 1 "$1" "$2" "$(between 2 4)" -f lavfi -i "aevalsrc=0.4*(random(0)-0.5)*$spurts:s=48000:n=960" \
        -c:a libopus -b:a "$rate" -application voip ;;
    *) local calls=(1300 1900 2700)
      try 30 "$2" env -C "$WORK/tmp" sipp -sf "$WORK/media/call${calls[RANDOM % 3]}.xml" -m 1 -nostdin \
        -i "${ADDR[$2]}" -p $((5060 + 2 * $1)) -mi "${ADDR[$2]}" -mp "$(udp_port 1 "$1")" "${SERVER[voip]}:5060" ;;
  esac
}

video_session() {
  rtp_pair video 2 "$1" "$2" "$(between 2 4)" -ss $((2 * (RANDOM % 3))) \
    -i "$WORK/media/camera@.mp4" -c copy
}

# half over SRT, which acknowledges by itself; half over RTP with RTCP reports coming back on the same port
screenshare_session() {
  local slides=$WORK/media/slides$((RANDOM % 4)).mp4 port=$((5004 + 2 * $1)) secs presenter=$2 viewer=srv
  secs=$(between 5 9)
  if (($1 % 4 >= 2)); then presenter=srv viewer=$2; fi
  if (($1 % 2)); then share_by_srt; else share_by_rtp "$1" "$2"; fi
}

share_by_srt() {
  local url="srt://${SERVER[screenshare]}:$port?latency=120000&mode="
  local send=(ffmpeg -nostdin -v error -re -i "$slides" -t "$secs" -c copy -f mpegts)
  local show=(ffmpeg -nostdin -v error -i)
  if [[ $presenter == srv ]]; then
    try 30 srv "${send[@]}" "${url}listener&pkt_size=1316" &
    sleep 0.7
    try 30 "$viewer" "${show[@]}" "${url}caller" -c copy -f null -
  else
    try 30 srv "${show[@]}" "${url}listener" -c copy -f null - &
    sleep 0.7
    try 30 "$presenter" "${send[@]}" "${url}caller&pkt_size=1316"
  fi
  wait
}

share_by_rtp() {
  local cport server=${SERVER[screenshare]} client=${ADDR[$2]}
  cport=$(udp_port 3 "$1")
  local -A end=([srv]="$server:$port:$((port + 2000))" [$2]="$client:$cport:$((cport + 1))")
  local from=${end[$presenter]} to=${end[$viewer]}
  receiver_reports "$secs" | try 30 "$viewer" socat -u - "UDP4-DATAGRAM:${from%:*},bind=${to%:*}" &
  pause 0.1 0.4
  try 30 "$presenter" ffmpeg -nostdin -v error -re -i "$slides" -t "$secs" -c copy -f rtp \
    "$(rtp_url "$from" "$to")&pkt_size=1200" </dev/null
  wait
}

# RTCP receiver reports (RFC 3550, 6.4.2) with one block, every few hundred milliseconds; one write is one datagram.
# 32 bytes: header, two SSRCs, loss, highest sequence number, jitter, last sender report and the time since it
receiver_reports() {
  local end=$((SECONDS + $1)) n=0 z='\x00\x00\x00\x00'
  while ((SECONDS < end)); do
    printf "\\x81\\xc9\\x00\\x07\\x00\\x00\\x10\\x01\\x00\\x00\\x20\\x01$z\\x00\\x00\\x00\\x$(printf %02x $((n % 256)))\\x00\\x00\\x00\\x08$z$z" ||
      return 0
    n=$((n + 1))
    pause 0.1 0.4
  done
}

# --- web

web_session() {
  local page=https://${SERVER[web]}/$((1 + RANDOM % 8)) objects=() f
  if (($1 % 2)); then
    try 30 "$2" nghttp -n -a --no-verify-peer "$page/index.html"
  else
    # the browser's second visit: it knows what it needs and asks for all of it at once
    for f in "$WORK/www/web/${page##*/}"/*; do objects+=(-o /dev/null "$page/${f##*/}"); done
    try 30 "$2" curl -sk --http2 --parallel "${objects[@]}"
  fi
}

# two people in a room, each with a connection to listen and one to talk; every other room over TLS
chat_session() {
  local room=room$1 other port=1883 tls=() c
  other=${CLIENTS[(${2#c} + 1 + $1) % ${#CLIENTS[@]}]}
  if (($1 % 2)); then port=8883 tls=(--cafile "$WORK/keys/tls.pem" --insecure); fi
  for c in "$2" "$other"; do
    try 40 "$c" mosquitto_sub -h "${SERVER[chat]}" -p "$port" "${tls[@]}" -k 10 -q 1 -t "$room" -W 25 &
    { sleep 2; chatter | try 40 "$c" mosquitto_pub -h "${SERVER[chat]}" -p "$port" "${tls[@]}" -k 10 -q 1 -t "$room" -l; } &
  done
  wait
}

chatter() {
  local i n
  n=$(between 10 18)
  for ((i = 0; i < n; i++)); do
    head -c "$(between 8 150)" /dev/urandom | base64 -w0 && echo || return 0
    pause 0.2 2
  done
}

# an application's background talk: small reads and writes on one connection, with pauses
api_session() {
  local i n
  n=$(between 8 16)
  for ((i = 0; i < n; i++)); do
    if ((RANDOM % 3)); then
      printf 'next\nurl = "https://%s:8443/%d.json"\n' "${SERVER[api]}" $((1 + RANDOM % 6))
    else
      printf 'next\nurl = "https://%s:8443/orders"\nheader = "Content-Type: application/json"\n' "${SERVER[api]}"
      printf 'data = "{\\"item\\":%d,\\"note\\":\\"%s\\"}"\n' $RANDOM \
        "$(head -c "$(between 5 120)" /dev/urandom | base64 -w0)"
    fi
    printf 'insecure\nhttp1.1\noutput = /dev/null\n'
  done >"$WORK/tmp/api.$BASHPID"
  try 60 "$2" curl -s --rate $((60 + 60 * (RANDOM % 4)))/m -K "$WORK/tmp/api.$BASHPID"
}

# --- background

# most are resolvers that keep their port for a series of questions; the last ones ask just once
dns_session() {
  local port i n=1 edns kinds=(A A AAAA MX TXT) names=(example.com www.example.com cdn7.example.net mail.example.com
    a-rather-long-host-name.static.example.net)
  port=$(udp_port 4 "$1")
  if (($1 < 15)); then n=$(between 6 14); fi
  for ((i = 0; i < n; i++)); do
    edns=+edns
    if ((RANDOM % 3 == 0)); then edns=+noedns; fi
    try 10 "$2" dig +tries=2 +time=2 "$edns" -b "${ADDR[$2]}#$port" \
      "@${SERVER[dns]}" "${names[RANDOM % 5]}" "${kinds[RANDOM % 5]}"
    pause 0 0.8
  done
}

ssh_session() {
  local ssh=(ssh -F none -i "$WORK/keys/user" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null
    -o LogLevel=ERROR)
  local host=root@${SERVER[ssh]}
  case $(($1 % 3)) in
    0) keystrokes | try 60 "$2" "${ssh[@]}" -tt "$host" "env -i PS1='$ ' TERM=xterm PATH=/usr/bin:/bin sh" ;;
    1) try 60 "$2" rsync -a --bwlimit=$((30 + RANDOM % 60)) -e "${ssh[*]}" \
      "$host:$WORK/www/web/$((1 + RANDOM % 8))/" "$WORK/tmp/rsync.$BASHPID/" ;;
    2) try 60 "$2" "${ssh[@]}" "$host" \
      "for i in 1 2 3 4 5 6; do head -c $((500 + RANDOM % 6000)) /dev/zero; sleep 0.3; done" ;;
  esac
}

keystrokes() {
  local line k
  for line in "uptime" "ls -l /usr" "df -h" "exit"; do
    for ((k = 0; k < ${#line}; k++)); do
      printf '%s' "${line:k:1}" || return 0
      pause 0.05 0.3
    done
    printf '\n' || return 0
    pause 0.3 1
  done
}

ping_session() {
  local sizes=(56 56 56 120 400 1200)
  try 40 "$2" ping -q -c "$(between 9 18)" -i "0.$(between 2 6)" -s "${sizes[RANDOM % 6]}" "${SERVER[ping]}"
}
