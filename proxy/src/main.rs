//! How does the process start and end?
fn main() {
    let path = std::env::args().nth(3).unwrap();
    let files = outrigger::reload::files::read(path.as_ref()).unwrap();
    let files: Vec<_> =
        files.into_iter().map(|f| outrigger_config::Source { name: f.name, text: f.text }).collect();
    let config = match outrigger_config::parse(&files) {
        Ok(c) => c,
        Err(e) => {
            eprintln!("{e}");
            std::process::exit(1)
        }
    };
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    rt.block_on(async {
        let app = outrigger::app::App::start(config, Box::new(std::io::stdout())).unwrap();
        tokio::signal::ctrl_c().await.unwrap();
        app.stop();
    });
}
