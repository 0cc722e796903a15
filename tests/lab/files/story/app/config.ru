# The web process. A boot takes BOOT_SECONDS, as that of a grown Rails app does, before anything listens.
require_relative "app"
require "json"
require "rack"

MANIFEST = "#{ROOT}/public/packs/manifest.json"

class Web
  POST = <<~SQL
    INSERT INTO posts (id, edge, host) VALUES ($1, $2, $3)
    ON CONFLICT (id) DO UPDATE SET times = posts.times + 1 RETURNING times
  SQL
  CANARY = "INSERT INTO canary (id, host) VALUES ($1, $2) RETURNING at"

  def call(env)
    request = Rack::Request.new(env)
    status, text = answer("#{request.request_method} #{request.path_info}", request.params)
    headers = { "Content-Type" => "text/plain", "X-App-Host" => HOST, "X-App-Db" => ENV.fetch("DB_HOST") }
    [status, headers.merge("Content-Length" => "#{text.bytesize + 1}"), ["#{text}\n"]]
  end

  def answer(what, params)
    case what
    when "GET /health" then [200, "OK"]
    when "GET /" then [200, page]
    when "POST /posts" then [201, post(params)]
    when "POST /canary" then [201, query(CANARY, params.fetch("id"), HOST)[0]["at"]]
    else [404, "no such page"]
    end
  rescue StandardError => error
    warn "#{what}: #{error.class}: #{error.message.strip}"
    [500, "#{error.class}: #{error.message.strip}"]
  end

  # 201 only when the row is committed and the job is in Redis.
  def post(params)
    id = params.fetch("id")
    times = query(POST, id, params["edge"], HOST)[0]["times"]
    queue = id.sum.even? ? "default" : "ingress"
    PostJob.set(queue: queue).perform_async(id, params["work"].to_i)
    times
  end

  # Without the built assets there is no page, whatever /health says.
  def page
    script = JSON.parse(File.read(MANIFEST)).fetch("application.js")
    "#{query("SELECT count(*) FROM posts")[0]["count"]} posts, shown by #{script}"
  end
end

sleep(ENV.fetch("BOOT_SECONDS", "0").to_f)
run Web.new
