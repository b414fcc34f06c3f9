# shellcheck shell=bash
# content.sh: what the servers have to offer.  Sourced by record.sh.

make_media() {
  local m=$WORK/media w=$WORK/www k rate
  local life="mold=10:ratio=0.1:death_color=#C83232:life_color=#00ff00"
  local pictures=("testsrc2=s=320x180" "mandelbrot=s=320x180" "life=s=320x180:$life" "testsrc2=s=256x144")
  local rates=(150k 110k 190k 80k)
  mkdir -p "$m" "$w"/{hls,dash,download}

  # films for HLS and DASH: one-second segments, so that a few seconds of play are several requests
  for k in 0 1 2 3; do
    ff -f lavfi -i "${pictures[k]}:r=25" -f lavfi -i "sine=f=$((220 * (k + 1)))" -t 14 \
      -c:v libx264 -preset veryfast -b:v "${rates[k]}" -maxrate "${rates[k]}" -bufsize "${rates[k]}" -g 25 \
      -pix_fmt yuv420p -c:a aac -b:a 32k "$m/film$k.mp4"
    mkdir -p "$w/hls/$k" "$w/dash/$k"
    ff -i "$m/film$k.mp4" -c copy -f hls -hls_time 1 -hls_list_size 0 -hls_playlist_type vod "$w/hls/$k/media.m3u8"
    # one file per track and a list of byte ranges in the manifest
    ff -i "$m/film$k.mp4" -c copy -f dash -seg_duration 1 -single_file 1 -use_template 0 -use_timeline 0 \
      "$w/dash/$k/film.mpd"
  done

  # cameras: short groups of pictures, no B frames, as a call would have them
  k=0
  for rate in "15 160k" "24 220k" "30 280k" "20 120k"; do
    # noise keeps the encoder as busy as a real camera does
    ff -f lavfi -i "${pictures[k]}:r=${rate% *}" -t 10 -vf "noise=alls=6:allf=t" \
      -c:v libx264 -preset veryfast -tune zerolatency -b:v "${rate#* }" -maxrate "${rate#* }" -bufsize "${rate#* }" \
      -g $((2 * ${rate% *})) -pix_fmt yuv420p "$m/camera$k.mp4"
    k=$((k + 1))
  done

  # slides: the picture stands still and changes at once every second or two, 5 frames a second
  for k in 0 1 2 3; do
    ff -f lavfi -i "mandelbrot=s=640x360:rate=$((4 + k))/$((6 - k % 2)):start_scale=$((k + 1))" -t 12 \
      -vf fps=5 -c:v libx264 -preset veryfast -tune zerolatency -crf $((33 + 2 * (k % 3))) -g 1000 -pix_fmt yuv420p "$m/slides$k.mp4"
  done

  # telephone audio for sipp, a hum in spurts like speech (it compresses well), and calls of different lengths
  ff -f lavfi -i "aevalsrc=0.4*sin(2*PI*t*200)*gt(sin(2*PI*t*0.4)\,-0.3):s=8000" -t 5 \
    -c:a pcm_alaw -f alaw "$m/speech.al"
  for k in 1300 1900 2700; do
    sed -e "s|@SPEECH@|$m/speech.al|" -e "s|@PAUSE@|$k|" "$HERE/call.xml" >"$m/call$k.xml"
  done

  for k in 60 90 130 180 240; do head -c ${k}000 /dev/urandom >"$w/download/$k.bin"; done
}

ff() { in_time 120 ffmpeg -nostdin -v error -y "$@" </dev/null; }

# Web pages with style sheets, scripts and pictures; the sizes are drawn per page.
make_pages() {
  local w=$WORK/www/web page n i size name
  RANDOM=$SEED
  for page in 1 2 3 4 5 6 7 8; do
    mkdir -p "$w/$page"
    {
      echo "<!DOCTYPE html><html><head><title>Page $page</title>"
      for i in 1 2; do
        head -c $((1000 + RANDOM % 9000)) /dev/urandom | base64 >"$w/$page/s$i.css"
        head -c $((800 + RANDOM % 12000)) /dev/urandom | base64 >"$w/$page/a$i.js"
        echo "<link rel=\"stylesheet\" href=\"s$i.css\"><script src=\"a$i.js\"></script>"
      done
      echo "</head><body>"
      n=$((2 + RANDOM % 7))
      for ((i = 1; i <= n; i++)); do
        size=$((600 + RANDOM % 14000))
        name=i$i.png
        head -c $size /dev/urandom >"$w/$page/$name"
        echo "<img src=\"$name\" alt=\"\"><p>$(head -c $((RANDOM % 800)) /dev/urandom | base64 -w0)</p>"
      done
      echo "</body></html>"
    } >"$w/$page/index.html"
  done
}

make_json() {
  local w=$WORK/www/api i n k
  mkdir -p "$w"
  RANDOM=$((SEED + 1))
  for i in 1 2 3 4 5 6; do
    n=$((1 + RANDOM % 20))
    {
      printf '{"items":['
      for ((k = 1; k < n; k++)); do printf '{"id":%d,"value":%d.%d},' $RANDOM $RANDOM $RANDOM; done
      printf '{"id":%d,"value":%d.%d}]}\n' $RANDOM $RANDOM $RANDOM
    } >"$w/$i.json"
  done
}

make_keys() {
  mkdir -p "$WORK/keys"
  in_time 30 openssl req -x509 -newkey rsa:2048 -nodes -keyout "$WORK/keys/tls.key" -out "$WORK/keys/tls.pem" -days 30 \
    -subj /CN=lab.example 2>/dev/null
  in_time 30 ssh-keygen -q -t ed25519 -N '' -f "$WORK/keys/host"
  in_time 30 ssh-keygen -q -t ed25519 -N '' -f "$WORK/keys/user"
}

make_content() {
  make_keys
  make_media
  make_pages
  make_json
}
